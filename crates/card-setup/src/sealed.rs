//! Small files that are whole or not used: a content behind its checksum.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// No file is read beyond this many bytes.
const MOST_BYTES: u64 = 64 << 20;
/// How a file begins.
pub const MAGIC: [u8; 8] = *b"CARDmem1";
/// Length of a SHA-256.
pub const SUM_BYTES: usize = 32;

/// What a file holds, if it is there and whole. A damaged file is told and set aside.
pub fn read<T>(file: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Option<T> {
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

/// Writes `content` in the place of what the file holds: whole or not at all, and readable by its
/// owner only.
///
/// # Errors
/// If it cannot be written.
pub fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(&seal(content))?;
    new.persist(file)?;
    Ok(())
}
