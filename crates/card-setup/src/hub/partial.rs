//! A file that is arriving: as much as is there, with the hash of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

/// Bytes that are read or written at a time.
pub const PIECE: usize = 256 << 10;

/// A file that is arriving.
///
/// Invariant: `hash` is that of the `length` bytes of the file, and the file's position is its end.
pub struct HubPartial {
    path: PathBuf,
    file: File,
    hash: Sha256,
    length: u64,
    earlier: u64,
}

impl HubPartial {
    /// Opens the file, or begins it. What is there already is read, for its hash, and shown by the
    /// bar; a file that is longer than `bytes` begins anew.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, bytes: u64, bar: &ProgressBar) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        let mut partial = HubPartial {
            path: path.to_owned(),
            file,
            hash: Sha256::new(),
            length: 0,
            earlier: 0,
        };
        if partial.file.metadata()?.len() > bytes {
            partial.restart()?;
        }
        let mut piece = vec![0; PIECE];
        loop {
            let n = match partial.file.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            partial.hash.update(&piece[..n]);
            partial.length += n as u64;
            bar.inc(n as u64);
        }
        partial.earlier = partial.length;
        Ok(partial)
    }

    /// Bytes that are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether some of it was there before it was opened.
    pub fn goes_on(&self) -> bool {
        self.earlier > 0
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// If they cannot be written. What was written of them is taken back.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(error);
        }
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins anew.
    ///
    /// # Errors
    /// If the file cannot be made empty.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        (self.length, self.earlier) = (0, 0);
        Ok(())
    }

    /// The SHA-256 of what is there, in hexadecimal digits.
    pub fn sum(&self) -> String {
        let digest = self.hash.clone().finalize();
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Sees to it that the disk has all of it.
    ///
    /// # Errors
    /// If the disk has no room for it after all.
    pub fn keep(self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Removes the file.
    pub fn forget(self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        let bar = ProgressBar::hidden();
        let mut part = HubPartial::open(&path, 3, &bar).unwrap();
        assert!(!part.goes_on());
        part.add(b"ab").unwrap();
        drop(part);
        let mut part = HubPartial::open(&path, 3, &bar).unwrap();
        assert!(part.goes_on() && part.length() == 2);
        part.add(b"c").unwrap();
        assert_eq!(part.sum(), ABC);
        part.restart().unwrap();
        assert!(!part.goes_on() && part.length() == 0);
        part.add(b"abc").unwrap();
        assert_eq!(part.sum(), ABC);
        part.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
        // No beginning of a file of two bytes.
        let part = HubPartial::open(&path, 2, &bar).unwrap();
        assert_eq!(part.length(), 0);
        part.forget();
        assert!(!path.exists());
    }
}
