//! `FILE.head`, beside the log: it names the last record, so that a cut at the end shows.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use serde::Deserialize;

use crate::anchor::Anchor;
use crate::disk::{beside, private};
use crate::key::{AuditKey, named, seal};

/// What `FILE.head` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogHead {
    /// The version of the format, which is 1.
    head: u8,
    /// The random id of the log, as its first record has it.
    pub log: String,
    /// The number of the last record.
    pub n: u64,
    /// The hash of the last record.
    pub last: String,
    /// The id of the key that seals the head; `None` where a plain hash does.
    pub key: Option<String>,
    /// The time at which the head was written, in milliseconds since 1970.
    time: u64,
    /// The hash of all fields before it, computed by [`seal`].
    hash: String,
}

impl LogHead {
    /// The head of a log whose last record this is.
    pub fn new(log: &str, last: &Anchor, key: Option<&AuditKey>, time: u64) -> LogHead {
        let mut head = LogHead {
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

    fn parse(text: &[u8]) -> Option<LogHead> {
        let head: LogHead = serde_json::from_slice(text).ok()?;
        // As with records, there is one way to write it.
        (head.text().as_bytes() == text).then_some(head)
    }

    /// The head of the log `path`, sealed with this key. `None` if there is none.
    ///
    /// # Errors
    /// If the file cannot be read. The inner error: it is no head, was changed, or is not sealed
    /// with this key.
    pub fn read(
        path: &Path,
        key: Option<&AuditKey>,
    ) -> std::io::Result<Option<Result<LogHead, String>>> {
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
        let Some(head) = LogHead::parse(&text) else {
            return Ok(Some(Err(format!("{name} is no head of a log"))));
        };
        if head.key.as_deref() != key.map(AuditKey::id) {
            let how = named(head.key.as_deref());
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
    ///
    /// # Errors
    /// If the disk does not take it; the head that was there stays.
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
    use crate::anchor::GENESIS;

    #[test]
    fn a_head_is_read_with_its_own_key_only() {
        let folder = crate::disk::tests::folder("head");
        let path = folder.join("a.log");
        assert!(LogHead::read(&path, None).unwrap().is_none());
        let key = AuditKey::new(b"0123456789abcdef").unwrap();
        let other = AuditKey::new(b"0123456789abcdeg").unwrap();
        let last = Anchor {
            n: 3,
            hash: GENESIS.to_owned(),
        };
        LogHead::new("log", &last, Some(&key), 9)
            .write(&path)
            .unwrap();
        let read = |key| LogHead::read(&path, key).unwrap().unwrap();
        let head = read(Some(&key)).unwrap();
        assert_eq!((head.n, head.log.as_str()), (3, "log"));
        assert!(read(Some(&other)).is_err() && read(None).is_err());
        // It is replaced, whatever lies in the way.
        std::fs::write(beside(&path, "head.new"), "left").unwrap();
        LogHead::new("log", &last, None, 9).write(&path).unwrap();
        assert!(read(None).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
