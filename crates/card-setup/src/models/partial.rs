//! A model file that is being fetched, and how much of it is known to be good.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::catalogue::CatalogueEntry;

/// The growing file and how much of it is known to be good.
pub struct Partial {
    /// The growing file.
    pub file: PathBuf,
    /// File with the text `PARTS BYTES`: so many parts are joined, and they are so long.
    pub mark: PathBuf,
    /// What arrives from a hub, in one piece; it goes on where it stopped by its length.
    pub hub: PathBuf,
    /// Directory for what is being unpacked.
    pub scratch: PathBuf,
}

impl Partial {
    /// Begins a file in `dir`, or goes on with the one there is.
    ///
    /// # Errors
    /// If the folder for what is unpacked cannot be made.
    pub fn open(dir: &Path, entry: &CatalogueEntry) -> Result<Self> {
        let partial = Partial {
            file: dir.join(format!("{}.gguf.part", entry.name)),
            mark: dir.join(format!("{}.gguf.part.mark", entry.name)),
            hub: dir.join(format!("{}.gguf.part.hub", entry.name)),
            scratch: dir.join(format!("{}.tmp", entry.name)),
        };
        // An interrupted fetch may have left the rest of a part here.
        let _ = fs::remove_dir_all(&partial.scratch);
        fs::create_dir_all(&partial.scratch)
            .with_context(|| format!("cannot make {}", partial.scratch.display()))?;
        Ok(partial)
    }

    /// Bytes that are there, of whichever origin has brought more.
    pub fn length(&self) -> u64 {
        let hub = fs::metadata(&self.hub).map_or(0, |m| m.len());
        self.done().1.max(hub)
    }

    /// Parts and bytes that are there, by the mark. The file may be longer: what comes after
    /// the mark is a part that did not arrive whole.
    pub fn done(&self) -> (usize, u64) {
        let text = fs::read_to_string(&self.mark).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let (parts, bytes) = match (numbers.next(), numbers.next()) {
            (Some(Ok(parts)), Some(Ok(bytes))) => (parts as usize, bytes),
            _ => (0, 0),
        };
        let have = fs::metadata(&self.file).map_or(0, |m| m.len());
        if have >= bytes {
            (parts, bytes)
        } else {
            (0, 0)
        }
    }

    /// Removes all of it.
    pub fn forget(&self) {
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_file(&self.mark);
        let _ = fs::remove_file(&self.hub);
        let _ = fs::remove_dir_all(&self.scratch);
    }
}
