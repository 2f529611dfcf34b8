//! Half a line that a power cut left at the end of a log: it is kept in a file of its own.

use std::fs::File;
use std::io::{ErrorKind, Result, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::disk::{beside, private};

/// Moves what follows the last record, which ends at `end`, to a file `FILE.torn-N` of its own.
/// Returns what was done, in words.
pub(crate) fn set_aside(path: &Path, file: &mut File, end: u64, length: u64) -> Result<String> {
    let torn = length - end;
    let copied = copy_torn(path, file, end);
    file.set_len(end)?;
    file.sync_data()?;
    Ok(match copied {
        Ok(name) => format!(
            "{torn} bytes after the last whole record were set aside as {}",
            name.display()
        ),
        Err(error) => format!(
            "{torn} bytes after the last whole record were cut off; \
             they could not be set aside: {error}"
        ),
    })
}

fn copy_torn(path: &Path, file: &mut File, from: u64) -> Result<PathBuf> {
    let mut number = 1_u64;
    let (name, mut to) = loop {
        let name = beside(path, &format!("torn-{number}"));
        match private().create_new(true).write(true).open(&name) {
            Ok(to) => break (name, to),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    };
    file.seek(SeekFrom::Start(from))?;
    let copied = std::io::copy(file, &mut to).and_then(|_| to.sync_all());
    if let Err(error) = copied {
        let _ = std::fs::remove_file(&name);
        return Err(error);
    }
    Ok(name)
}
