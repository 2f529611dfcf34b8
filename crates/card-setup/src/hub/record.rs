//! Which files of the hub's cache card fetched. The cache is shared, and what another tool fetched
//! is not removed without being told to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::listing::is_hex;

/// Bytes of the longest record that is read.
const LONGEST: u64 = 16 << 20;

/// The record: a file with one SHA-256 a line.
#[derive(Clone, Debug)]
pub struct HubRecord {
    file: PathBuf,
}

impl HubRecord {
    /// The record in this file, which need not exist.
    pub fn at(file: PathBuf) -> Self {
        HubRecord { file }
    }

    /// Whether card fetched what has this checksum.
    pub fn has(&self, sum: &str) -> bool {
        let fits = fs::metadata(&self.file).is_ok_and(|m| m.is_file() && m.len() <= LONGEST);
        let text = fits.then(|| fs::read_to_string(&self.file).ok()).flatten();
        is_hex(sum, 64) && text.is_some_and(|text| text.lines().any(|line| line == sum))
    }

    /// Remembers that card fetched it. If that fails, it counts as another tool's.
    pub fn add(&self, sum: &str) {
        if self.has(sum) {
            return;
        }
        let write = || -> std::io::Result<()> {
            if let Some(folder) = self.file.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.file)?;
            writeln!(file, "{sum}")
        };
        if let Err(error) = write() {
            tracing::debug!("cannot write {}: {error}", self.file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let record = HubRecord::at(dir.path().join("card/hub-files"));
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        assert!(!record.has(&one));
        record.add(&one);
        record.add(&one);
        assert!(record.has(&one) && !record.has(&two) && !record.has(""));
        let text = fs::read_to_string(dir.path().join("card/hub-files")).unwrap();
        assert_eq!(text.lines().count(), 1);
    }
}
