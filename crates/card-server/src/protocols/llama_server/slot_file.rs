//! The file that a slot is saved to: its tokens, laid out as llama-server's files of slots begin.
//!
//! Numbers have 32 bits, the low byte first: what the file is, the version, and how many numbers
//! follow; then -1, a version and the number of tokens, which older files do not have; then the
//! tokens. Eight bytes at the end say of which vocabulary the tokens are. KV cells are not in it:
//! restoring reads the tokens again.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use card_core::types::Token;

/// What the file is: `card`.
const MAGIC: [u8; 4] = *b"card";
/// The version of the whole, and of the list of tokens.
const VERSIONS: [u32; 2] = [1, 1];
/// What stands before a list that says how many tokens it has; no token has this number.
const PACKED: u32 = u32::MAX;
/// Numbers before the tokens of such a list.
const HEADER: usize = 3;
/// Bytes before the list.
const BEGIN: usize = 12;
/// Bytes behind it.
const END: usize = 8;
/// Files of a folder.
const MOST_FILES: usize = 1024;

/// The tokens of a slot as they are in a file.
#[derive(Debug, PartialEq)]
pub(super) struct SlotFile {
    /// The tokens.
    pub(super) tokens: Vec<Token>,
    /// Which vocabulary they are of.
    pub(super) vocabulary: u64,
}

impl SlotFile {
    /// The bytes of the file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let tokens = self.tokens.len() as u32;
        let numbers = [
            VERSIONS[0],
            tokens + HEADER as u32,
            PACKED,
            VERSIONS[1],
            tokens,
        ];
        let numbers = numbers.iter().chain(&self.tokens);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(numbers.flat_map(|number| number.to_le_bytes()));
        bytes.extend(self.vocabulary.to_le_bytes());
        bytes
    }

    /// What is in the bytes of a file; `None` if they are none, or of another version.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let four = bytes.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(four.try_into().ok()?))
        };
        if !bytes.starts_with(&MAGIC) || number(4)? != VERSIONS[0] {
            return None;
        }
        let count = number(8)? as usize;
        let list = bytes.get(BEGIN..BEGIN.checked_add(count.checked_mul(4)?)?)?;
        let end = bytes.get(BEGIN + list.len()..)?;
        let mut tokens: Vec<u32> = list
            .chunks_exact(4)
            .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        if tokens.first() == Some(&PACKED) {
            let said = (*tokens.get(1)?, *tokens.get(2)? as usize);
            if said != (VERSIONS[1], tokens.len() - HEADER) {
                return None;
            }
            tokens.drain(..HEADER);
        }
        Some(SlotFile {
            tokens,
            vocabulary: u64::from_le_bytes(end.try_into().ok()?),
        })
    }

    /// Bytes of the largest file for a context of so many tokens.
    pub(super) fn most_bytes(context: u32) -> u64 {
        (BEGIN + END + 4 * HEADER) as u64 + 4 * u64::from(context)
    }
}

/// Writes a file as a whole or not at all; one of the same name is replaced.
///
/// # Errors
/// If it cannot be written, or the folder has too many files.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name);
    if !path.exists() && fs::read_dir(folder)?.count() >= MOST_FILES {
        let why = format!("there are {MOST_FILES} files already; remove some, or use their names");
        return Err(io::Error::other(why));
    }
    let part = part_of(folder, name);
    let written = write_through(&part, bytes).and_then(|()| fs::rename(&part, &path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

/// Where a file is written before it has its name: under a name that no request can have, and another
/// one each time, since two requests may save to the same file at once.
fn part_of(folder: &Path, name: &str) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    folder.join(format!(".{name}.{}-{number}.part", std::process::id()))
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A process of this number that ended in the middle may have left one.
    let _ = fs::remove_file(path);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    // What somebody asked a model is nobody else's.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a file of at most so many bytes.
///
/// # Errors
/// If it cannot be read, or is larger.
pub(super) fn read(folder: &Path, name: &str, most: u64) -> io::Result<Vec<u8>> {
    let path: PathBuf = folder.join(name);
    let metadata = fs::metadata(&path)?;
    if !metadata.is_file() || metadata.len() > most {
        return Err(io::Error::other("it is no file of a slot of this context"));
    }
    fs::read(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(tokens: &[Token]) -> SlotFile {
        SlotFile {
            tokens: tokens.to_vec(),
            vocabulary: 7,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for tokens in [&[][..], &[1], &[5, 4, 3]] {
            let bytes = file(tokens).bytes();
            assert!(bytes.len() as u64 <= SlotFile::most_bytes(tokens.len() as u32));
            assert_eq!(SlotFile::of(&bytes).unwrap(), file(tokens));
        }
        // A list without a header, as older servers wrote it.
        let mut old = file(&[5, 4, 3]).bytes();
        old.drain(BEGIN..BEGIN + 4 * HEADER);
        old[8..12].copy_from_slice(&3u32.to_le_bytes());
        assert_eq!(SlotFile::of(&old).unwrap(), file(&[5, 4, 3]));
    }

    #[test]
    fn who_saves_to_the_same_file_at_once_writes_another_part() {
        let folder = tempfile::tempdir().unwrap();
        let part = || part_of(folder.path(), "a");
        assert_ne!(part(), part());
        for bytes in [&b"first"[..], b"second"] {
            write(folder.path(), "a", bytes).unwrap();
            assert_eq!(read(folder.path(), "a", 100).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_cut_off_or_changed_is_none() {
        let whole = file(&[5, 4, 3]).bytes();
        for length in 0..whole.len() {
            assert_eq!(SlotFile::of(&whole[..length]), None, "{length}");
        }
        for at in [0, 4, 8, 16, 20] {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x40;
            assert_eq!(SlotFile::of(&wrong), None, "{at}");
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(SlotFile::of(&longer), None);
    }
}
