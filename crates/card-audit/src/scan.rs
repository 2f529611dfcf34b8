//! The files of a log as they are found: the records in each, and their order.

use std::fs::File;
use std::io::{BufReader, Result, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::disk::beside;
use crate::error::{AuditError, io};
use crate::line::{AuditLine, BEGINNING, Lines};

/// What a file of a log has in it.
#[derive(Default)]
pub(crate) struct FileScan {
    /// The last record; `None` if the file has none.
    pub last: Option<AuditLine>,
    /// The offset in bytes at which the last record ends.
    pub end: u64,
    /// The length of the file in bytes. Invariant: `end <= length`.
    pub length: u64,
    /// The first bytes of the file, as many as [`BEGINNING`] has.
    beginning: Vec<u8>,
}

impl FileScan {
    /// Whether a power cut can have left what is there: nothing, half of a first line, or
    /// room that was not written yet.
    pub fn may_be_torn(&self) -> bool {
        BEGINNING.starts_with(&self.beginning) || self.beginning.first() == Some(&0)
    }
}

/// Looks through a file.
pub(crate) fn scan(file: &mut File) -> Result<FileScan> {
    let mut found = FileScan::default();
    file.seek(SeekFrom::Start(0))?;
    let mut lines = Lines::new(BufReader::new(&*file));
    while let Some(text) = lines.next_line()? {
        if found.length == 0 {
            let end = text.ended.then_some(&b'\n');
            let all = text.bytes.iter().chain(end);
            found.beginning = all.take(BEGINNING.len()).copied().collect();
        }
        found.length = text.end;
        if let Ok(line) = text.record() {
            found.end = text.end;
            found.last = Some(line);
        }
    }
    Ok(found)
}

/// The last record of the files that were set aside.
pub(crate) fn last_of(path: &Path, numbers: &[u64]) -> Result<Option<AuditLine>> {
    for n in numbers.iter().rev() {
        let mut file = File::open(beside(path, &n.to_string()))?;
        let found = scan(&mut file)?;
        if found.last.is_some() {
            return Ok(found.last);
        }
    }
    Ok(None)
}

/// The id of the log, if the file with its first record is still there.
pub(crate) fn first_id(path: &Path, numbers: &[u64]) -> Option<String> {
    let oldest = match numbers.first() {
        Some(n) => beside(path, &n.to_string()),
        None => path.to_path_buf(),
    };
    let mut lines = Lines::new(BufReader::new(File::open(oldest).ok()?));
    let first = lines.next_line().ok()??.record().ok()?;
    let id = first.body["log"].as_str()?;
    (first.n == 1 && first.body["kind"] == "log").then(|| id.to_owned())
}

/// The files by the number of their first record; those without any come last, since the
/// newest may be empty.
pub(crate) fn in_order(files: &[PathBuf]) -> std::result::Result<Vec<PathBuf>, AuditError> {
    /// A file whose first lines are broken still has its place.
    const TRIES: usize = 100;
    let mut known = Vec::new();
    for path in files {
        let file = File::open(path).map_err(io(path))?;
        let mut lines = Lines::new(BufReader::new(file));
        let mut first = u64::MAX;
        for _ in 0..TRIES {
            let Some(text) = lines.next_line().map_err(io(path))? else {
                break;
            };
            if let Ok(line) = text.record() {
                first = line.n;
                break;
            }
        }
        known.push((first, path.clone()));
    }
    known.sort_by_key(|(first, _)| *first);
    Ok(known.into_iter().map(|(_, path)| path).collect())
}
