//! Which record is the last: kept beside the log in `FILE.head`, or elsewhere by a person.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;

use crate::disk::{beside, private};
use crate::key::{AuditKey, seal};

/// A record of a log by number and hash. Kept where nobody who writes the log can change it,
/// it shows whether what the log had up to there is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The record's number.
    pub n: u64,
    /// Its hash.
    pub hash: String,
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.hash)
    }
}

impl FromStr for Anchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "an anchor is N:HASH, as `card audit head FILE` prints it".to_owned();
        let (n, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
        let n = n.parse().map_err(|_| wrong())?;
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        Ok(Anchor {
            n,
            hash: hash.to_ascii_lowercase(),
        })
    }
}

/// What `FILE.head` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The format.
    head: u8,
    /// Which log.
    pub log: String,
    /// Number of the last record.
    pub n: u64,
    /// Its hash.
    pub last: String,
    /// Which key the head is sealed with.
    pub key: Option<String>,
    /// When it was written, in milliseconds since 1970.
    time: u64,
    hash: String,
}

impl Head {
    /// The head of a log whose last record this is.
    pub fn new(log: &str, last: &Anchor, key: Option<&AuditKey>, time: u64) -> Head {
        let mut head = Head {
            head: 1,
            log: log.to_owned(),
            n: last.n,
            last: last.hash.clone(),
            key: key.map(|k| k.id().to_owned()),
            time,
            hash: String::new(),
        };
        head.hash = seal(key, &head.covered());
        head
    }

    /// What the hash is of. It begins as no record does, so that neither passes for the other.
    fn covered(&self) -> String {
        let key = match &self.key {
            Some(id) => format!("\"{id}\""),
            None => "null".to_owned(),
        };
        format!(
            "{{\"head\":{},\"log\":\"{}\",\"n\":{},\"last\":\"{}\",\"key\":{key},\"time\":{}",
            self.head, self.log, self.n, self.last, self.time
        )
    }

    fn text(&self) -> String {
        format!("{},\"hash\":\"{}\"}}\n", self.covered(), self.hash)
    }

    fn parse(text: &[u8]) -> Option<Head> {
        let head: Head = serde_json::from_slice(text).ok()?;
        // As with records, there is one way to write it.
        (head.text().as_bytes() == text).then_some(head)
    }

    /// The head of the log `path`, sealed with this key. `None` if there is none.
    pub fn read(
        path: &Path,
        key: Option<&AuditKey>,
    ) -> std::io::Result<Option<Result<Head, String>>> {
        /// No head is longer.
        const MOST: u64 = 4096;
        let name = beside(path, "head");
        let file = match File::open(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text)?;
        let name = name.display();
        let Some(head) = Head::parse(&text) else {
            return Ok(Some(Err(format!("{name} is no head of a log"))));
        };
        if head.key.as_deref() != key.map(AuditKey::id) {
            let how = crate::key::named(head.key.as_deref());
            return Ok(Some(Err(format!("{name} is sealed {how}"))));
        }
        if seal(key, &head.covered()) != head.hash {
            return Ok(Some(Err(format!(
                "{name} was changed: its hash does not match"
            ))));
        }
        Ok(Some(Ok(head)))
    }

    /// Puts the head beside the log `path`, at once or not at all.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let new = beside(path, "head.new");
        let written = self.write_to(&new);
        let written = written.and_then(|()| std::fs::rename(&new, beside(path, "head")));
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written
    }

    fn write_to(&self, new: &Path) -> std::io::Result<()> {
        // What a process that was killed left.
        let _ = std::fs::remove_file(new);
        let mut file = private().write(true).create_new(true).open(new)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::GENESIS;

    #[test]
    fn an_anchor_is_read_as_it_is_shown_and_nothing_else_is() {
        let anchor = Anchor {
            n: 12,
            hash: GENESIS.replace('0', "a"),
        };
        assert_eq!(anchor.to_string().parse::<Anchor>(), Ok(anchor.clone()));
        assert_eq!(
            format!(" {anchor}\n").to_uppercase().parse::<Anchor>(),
            Ok(anchor)
        );
        for text in [
            "",
            ":",
            "12",
            "12:",
            "12:abc",
            &format!("-1:{GENESIS}"),
            GENESIS,
        ] {
            assert!(text.parse::<Anchor>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_head_is_read_with_its_own_key_only() {
        let folder = crate::disk::tests::folder("head");
        let path = folder.join("a.log");
        assert!(Head::read(&path, None).unwrap().is_none());
        let key = AuditKey::new(b"0123456789abcdef").unwrap();
        let other = AuditKey::new(b"0123456789abcdeg").unwrap();
        let last = Anchor {
            n: 3,
            hash: GENESIS.to_owned(),
        };
        Head::new("log", &last, Some(&key), 9).write(&path).unwrap();
        let read = |key| Head::read(&path, key).unwrap().unwrap();
        let head = read(Some(&key)).unwrap();
        assert_eq!((head.n, head.log.as_str()), (3, "log"));
        assert!(read(Some(&other)).is_err() && read(None).is_err());
        // It is replaced, whatever lies in the way.
        std::fs::write(beside(&path, "head.new"), "left").unwrap();
        Head::new("log", &last, None, 9).write(&path).unwrap();
        assert!(read(None).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
