//! What is kept from one run to the next: what the sources' words are worth for a pair,
//! and what the target wrote before (docs/sources.md says what is in these files).

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use card_core::acceptance::Acceptance;
use card_core::engine::Memory;
use card_core::sources::Corrections;
use card_llama::LlamaModel;
use sha2::{Digest, Sha256};

use crate::profile::short_name;
use card_setup::models::store::Store;

/// Size of the correction cache.
const CORRECTION_BYTES: usize = 4 << 20;
/// No file is read beyond this.
const MOST_BYTES: u64 = 64 << 20;
/// How a file begins.
const MAGIC: [u8; 8] = *b"CARDmem1";
/// Length of a SHA-256.
const SUM_BYTES: usize = 32;

/// Where the memory of a pair is.
pub struct Kept {
    acceptance: PathBuf,
    corrections: PathBuf,
    vocabulary: u64,
}

impl Kept {
    /// Of a target and its drafter.
    pub fn of(store: &Store, target: &LlamaModel, draft: Option<&LlamaModel>) -> Self {
        let name = |m: &LlamaModel| format!("{} {}", m.path().display(), m.info().bytes);
        let target_name = name(target);
        let pair = format!("{target_name} | {:?}", draft.map(name));
        let file = |key: &str, end: &str| {
            let name = format!("{}.{end}", short_name(key));
            store.memory().join(name)
        };
        Kept {
            acceptance: file(&pair, "acceptance"),
            corrections: file(&target_name, "corrections"),
            vocabulary: target.vocab().fingerprint(),
        }
    }

    /// What was kept; the rest begins anew. A damaged file is told and set aside: it never keeps
    /// a command from starting, and never proposes what is not a token.
    pub fn load(&self) -> Memory {
        let acceptance = kept(&self.acceptance, |bytes| {
            let acceptance: Acceptance =
                serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
            let fits = acceptance.fits().then_some(acceptance);
            fits.ok_or_else(|| "it is of another version".to_owned())
        });
        let corrections = kept(&self.corrections, |bytes| {
            Corrections::from_bytes(bytes, self.vocabulary).map_err(|e| e.to_string())
        });
        let fresh = || Corrections::new(CORRECTION_BYTES, self.vocabulary);
        Memory {
            acceptance: acceptance.unwrap_or_default(),
            corrections: Some(corrections.unwrap_or_else(fresh)),
        }
    }

    /// Keeps it. Two runs at once do not mix; the later one's file stays.
    pub fn save(&self, memory: &Memory) {
        let acceptance = serde_json::to_vec(&memory.acceptance).map_err(std::io::Error::other);
        let acceptance = acceptance.and_then(|bytes| replace(&self.acceptance, &seal(&bytes)));
        let corrections = memory.corrections.as_ref().map(Corrections::to_bytes);
        let corrections =
            corrections.map_or(Ok(()), |bytes| replace(&self.corrections, &seal(&bytes)));
        if let Err(error) = acceptance.and(corrections) {
            tracing::warn!("cannot keep what was learned: {error}");
        }
    }
}

/// What keeps the users of a server apart in tables that all of them use: random, and the
/// same from run to run where something is kept.
pub fn tenant_secret(keep: bool) -> [u8; 32] {
    let file = Store::open().ok().map(|s| s.memory().join("tenants"));
    let file = file.filter(|_| keep);
    let known = file.as_ref().and_then(|file| {
        kept(file, |bytes| {
            <[u8; 32]>::try_from(bytes).map_err(|_| "it is no secret".to_owned())
        })
    });
    known.unwrap_or_else(|| {
        let fresh = fresh_secret();
        if let Some(file) = file
            && let Err(error) = replace(&file, &seal(&fresh))
        {
            tracing::warn!("cannot keep {}: {error}", file.display());
        }
        fresh
    })
}

/// From the standard library's source of randomness, which is the system's.
fn fresh_secret() -> [u8; 32] {
    use std::hash::{BuildHasher, RandomState};
    let mut hasher = Sha256::new();
    for i in 0..8_u64 {
        hasher.update(RandomState::new().hash_one(i).to_le_bytes());
    }
    hasher.finalize().into()
}

/// What a file holds, if it is there and whole.
fn kept<T>(file: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Option<T> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(file).and_then(|f| f.take(MOST_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("{} is not used: {error}", file.display());
            return None;
        }
    }
    let whole = unseal(&bytes).ok_or_else(|| "it is damaged, or of another version".to_owned());
    match whole.and_then(parse) {
        Ok(kept) => Some(kept),
        Err(why) => {
            let mut aside = file.as_os_str().to_owned();
            aside.push(".damaged");
            let moved = std::fs::rename(file, &aside);
            let end = match moved {
                Ok(()) => format!("it is set aside as {}", Path::new(&aside).display()),
                Err(error) => format!("it cannot be set aside: {error}"),
            };
            tracing::warn!("{} is not used: {why}; {end}", file.display());
            None
        }
    }
}

/// A content behind its checksum.
fn seal(content: &[u8]) -> Vec<u8> {
    let mut sealed = MAGIC.to_vec();
    sealed.extend(Sha256::digest(content).iter());
    sealed.extend(content);
    sealed
}

/// The content, if it is what was sealed.
fn unseal(sealed: &[u8]) -> Option<&[u8]> {
    let (sum, content) = sealed.strip_prefix(&MAGIC)?.split_at_checked(SUM_BYTES)?;
    let right = Sha256::digest(content).iter().eq(sum.iter());
    right.then_some(content)
}

/// Puts a whole file in the place of another, readable by its owner only.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(bytes)?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: u64 = 7;

    fn kept_in(dir: &Path) -> Kept {
        Kept {
            acceptance: dir.join("a.acceptance"),
            corrections: dir.join("a.corrections"),
            vocabulary: VOCABULARY,
        }
    }

    /// Of a size that a new one does not have.
    fn small() -> Memory {
        Memory {
            acceptance: Acceptance::default(),
            corrections: Some(Corrections::new(1 << 12, VOCABULARY)),
        }
    }

    fn bytes(memory: &Memory) -> usize {
        memory.corrections.as_ref().map_or(0, Corrections::bytes)
    }

    #[test]
    fn a_secret_that_is_not_kept_is_another_each_time() {
        assert_ne!(tenant_secret(false), tenant_secret(false));
    }

    #[test]
    fn what_is_kept_comes_back_and_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept_in(dir.path());
        kept.save(&small());
        assert_eq!(bytes(&kept.load()), bytes(&small()));
        #[cfg(unix)]
        for file in [&kept.acceptance, &kept.corrections] {
            use std::os::unix::fs::MetadataExt;
            let mode = std::fs::metadata(file).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_with_any_bit_changed_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept_in(dir.path());
        for file in [&kept.acceptance, &kept.corrections] {
            kept.save(&small());
            let whole = std::fs::read(file).unwrap();
            let step = (whole.len() / 24).max(1);
            for at in (0..whole.len()).step_by(step) {
                let mut changed = whole.clone();
                changed[at] ^= 1 << (at % 8);
                refused(&kept, file, &changed);
            }
            // Cut, longer, empty, and what an earlier version wrote.
            refused(&kept, file, &whole[..whole.len() - 1]);
            refused(&kept, file, &[&whole[..], b"x"].concat());
            refused(&kept, file, b"");
            refused(&kept, file, &whole[MAGIC.len() + SUM_BYTES..]);
        }
    }

    fn refused(kept: &Kept, file: &Path, content: &[u8]) {
        kept.save(&small());
        std::fs::write(file, content).unwrap();
        let memory = kept.load();
        assert!(!file.exists());
        let mut aside = file.as_os_str().to_owned();
        aside.push(".damaged");
        assert_eq!(std::fs::read(aside).unwrap(), content);
        if file == kept.corrections {
            assert_ne!(bytes(&memory), bytes(&small()));
        }
    }

    #[test]
    fn what_another_vocabulary_wrote_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept_in(dir.path());
        kept.save(&small());
        let other = Kept {
            vocabulary: VOCABULARY + 1,
            ..kept_in(dir.path())
        };
        assert_ne!(bytes(&other.load()), bytes(&small()));
    }
}
