//! What seals a record: a hash that anyone can compute, or one that needs a key.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::disk::warn_of_readers;
use crate::error::AuditError;

/// The key of a log. Who has it can write records that pass, so keep it where who could
/// change the log cannot read it.
#[derive(Clone)]
pub struct AuditKey {
    mac: Hmac<Sha256>,
    id: String,
}

impl fmt::Debug for AuditKey {
    /// The key itself is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl AuditKey {
    /// A key has at least this many bytes.
    pub const LEAST: usize = 16;

    /// A key of these bytes; `None` if there are fewer than [`AuditKey::LEAST`].
    pub fn new(bytes: &[u8]) -> Option<AuditKey> {
        if bytes.len() < Self::LEAST {
            return None;
        }
        let digest = Sha256::new()
            .chain_update("card audit key id: ")
            .chain_update(bytes)
            .finalize();
        Some(AuditKey {
            mac: <Hmac<Sha256> as KeyInit>::new_from_slice(bytes).ok()?,
            id: hex(digest.iter().take(8)),
        })
    }

    /// The key in a file: its bytes without blanks and line breaks around them.
    ///
    /// # Errors
    /// If the file cannot be read, or is no key.
    pub fn from_file(path: &Path) -> Result<AuditKey, AuditError> {
        /// No key is longer.
        const MOST: u64 = 4096;
        let wrong = |why: String| AuditError::Key {
            path: path.display().to_string(),
            why,
        };
        let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
        warn_of_readers("the key", path, &file);
        let mut bytes = Vec::new();
        file.take(MOST + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| wrong(e.to_string()))?;
        if bytes.len() as u64 > MOST {
            return Err(wrong(format!("it has more than {MOST} bytes")));
        }
        let few = || wrong(format!("it has fewer than {} bytes", Self::LEAST));
        AuditKey::new(bytes.trim_ascii()).ok_or_else(few)
    }

    /// What names the key in a log: the first bytes of a hash of it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The hash of a text: HMAC-SHA-256 with a key, SHA-256 without.
pub(crate) fn seal(key: Option<&AuditKey>, text: &str) -> String {
    match key {
        Some(key) => {
            let tag = key.mac.clone().chain_update(text).finalize().into_bytes();
            hex(tag.iter())
        }
        None => hex(Sha256::new().chain_update(text).finalize().iter()),
    }
}

/// How a log is sealed, in words.
pub(crate) fn named(id: Option<&str>) -> String {
    match id {
        Some(id) => format!("with the key {id}"),
        None => "without a key".to_owned(),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_is_hmac_sha_256() {
        // RFC 4231, test case 7: a key longer than a block.
        let key = AuditKey::new(&[0xaa; 131]).unwrap();
        let text = "This is a test using a larger than block-size key and a larger than \
                    block-size data. The key needs to be hashed before being used by the \
                    HMAC algorithm.";
        assert_eq!(
            seal(Some(&key), text),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
        );
        assert_eq!(
            seal(None, "abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_key_is_not_shown_and_has_an_id_of_its_own() {
        let one = AuditKey::new(b"a secret of twenty-nine bytes").unwrap();
        let other = AuditKey::new(b"a secret of twenty nine bytes").unwrap();
        assert_ne!(one.id(), other.id());
        assert_eq!(one.id().len(), 16);
        let shown = format!("{one:?}");
        assert!(
            shown.contains(one.id()) && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_remedy() {
        let folder = crate::disk::tests::folder("key");
        let path = folder.join("key");
        let missing = AuditKey::from_file(&path).unwrap_err().to_string();
        assert!(missing.contains("openssl rand -hex 32 > "), "{missing}");
        let cases: [(&[u8], bool); 5] = [
            (b"", false),
            (b"fifteen bytes..", false),
            (b"  fifteen bytes..\n\n", false),
            (b"sixteen bytes...", true),
            (&[b'k'; 5000], false),
        ];
        for (bytes, good) in cases {
            std::fs::write(&path, bytes).unwrap();
            let key = AuditKey::from_file(&path);
            assert_eq!(key.is_ok(), good, "{key:?}");
            if let Err(error) = key {
                let said = error.to_string();
                assert!(said.contains("openssl rand -hex 32 > "), "{said}");
            }
        }
        // An editor's line break at the end is no part of the key.
        std::fs::write(&path, "sixteen bytes...\r\n").unwrap();
        let key = AuditKey::from_file(&path).unwrap();
        assert_eq!(key.id(), AuditKey::new(b"sixteen bytes...").unwrap().id());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
