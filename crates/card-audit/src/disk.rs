//! Files that only their owner reads, in places where others may write.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use crate::error::{AuditError, io};

/// Opens what only the owner may read, and no link.
#[cfg(unix)]
pub(crate) fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Opens what the folder's own rights protect.
#[cfg(not(unix))]
pub(crate) fn private() -> OpenOptions {
    OpenOptions::new()
}

/// Checks that what is there is a regular file; nothing is one too.
pub(crate) fn regular(path: &Path) -> std::result::Result<(), AuditError> {
    match path.symlink_metadata() {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(AuditError::NoFile {
            path: path.display().to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io(path)(error)),
    }
}

/// `FILE.suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// The lock of a log: as long as the file is open, no other process can have it.
pub(crate) fn lock(path: &Path) -> std::result::Result<File, AuditError> {
    let name = beside(path, "lock");
    regular(&name)?;
    let file = private()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(io(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(io(&name)(error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The numbers N of the files `FILE.N`, from small to large.
pub(crate) fn rotated(path: &Path) -> Result<Vec<u64>> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let start = format!("{}.", name.to_string_lossy());
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder_of(path))? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let Some(number) = name.strip_prefix(&start) else {
            continue;
        };
        if let Ok(n) = number.parse::<u64>()
            && n.to_string() == number
        {
            numbers.push(n);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The name for the next file that is set aside; after all there are, so that the order
/// holds where old ones were removed.
pub(crate) fn next_rotated(path: &Path) -> Result<PathBuf> {
    let newest = rotated(path)?.last().copied().unwrap_or(0);
    let next = newest
        .checked_add(1)
        .ok_or_else(|| Error::other(format!("there is no number after {newest}")))?;
    Ok(beside(path, &next.to_string()))
}

/// The files of a log: those that are named, or, where one is, that one and all that were
/// set aside from it.
///
/// # Errors
/// If the folder cannot be read.
pub fn files(named: &[PathBuf]) -> std::result::Result<Vec<PathBuf>, AuditError> {
    let [path] = named else {
        return Ok(named.to_vec());
    };
    let numbers = rotated(path).map_err(io(path))?;
    let mut all: Vec<PathBuf> = numbers
        .iter()
        .map(|n| beside(path, &n.to_string()))
        .collect();
    all.push(path.clone());
    Ok(all)
}

/// Makes sure that a new name in the file's folder outlives a power cut.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Other systems keep names by themselves.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

/// Warns where every user of the machine can read a file.
#[cfg(unix)]
pub(crate) fn warn_of_readers(what: &str, path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata().map_or(0, |m| m.permissions().mode());
    if mode & 0o007 != 0 {
        let path = path.display();
        tracing::warn!(
            "every user of this machine can use {what} {path}; change that with: chmod 600 {path}"
        );
    }
}

/// Other systems have other rights.
#[cfg(not(unix))]
pub(crate) fn warn_of_readers(_: &str, _: &Path, _: &File) {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An empty folder.
    pub fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("card-audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn files_come_in_the_order_of_their_numbers() {
        let folder = folder("order");
        let path = folder.join("a.log");
        for name in [
            "a.log.10",
            "a.log.9",
            "a.log.2",
            "a.log.head",
            "a.log.07",
            "a.log.x",
            "b.log.3",
        ] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        assert_eq!(rotated(&path).unwrap(), [2, 9, 10]);
        assert_eq!(next_rotated(&path).unwrap(), folder.join("a.log.11"));
        let all = files(std::slice::from_ref(&path)).unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!((&all[0], &all[3]), (&folder.join("a.log.2"), &path));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn one_writer_at_a_time_has_the_lock() {
        let folder = folder("lock");
        let path = folder.join("a.log");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(AuditError::Locked { .. })));
        drop(held);
        assert!(lock(&path).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
