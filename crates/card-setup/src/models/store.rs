//! The directory of model files and of what was learned about them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::catalogue::CatalogueEntry;

/// The user's directory for card: `$CARD_HOME`, else `card` in the cache directory. Its path is
/// absolute.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Finds the directory, without making it.
    ///
    /// # Errors
    /// If the system names no cache directory and `CARD_HOME` is not set.
    pub fn open() -> Result<Self> {
        let root = match std::env::var_os("CARD_HOME") {
            Some(dir) => PathBuf::from(dir),
            None => dirs::cache_dir()
                .context("this system names no cache directory; set CARD_HOME to one")?
                .join("card"),
        };
        // Other programs that are given its paths run in other directories.
        let root = std::path::absolute(root).context("CARD_HOME is set, but to no directory")?;
        Ok(Store { root })
    }

    /// The directory of a test.
    #[cfg(test)]
    pub(crate) fn at(root: &std::path::Path) -> Self {
        Store {
            root: root.to_owned(),
        }
    }

    /// Directory of the model files.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Directory of draft copies.
    pub fn drafters(&self) -> PathBuf {
        self.root.join("drafters")
    }

    /// Directory of self-test results.
    pub fn profiles(&self) -> PathBuf {
        self.root.join("profiles")
    }

    /// Directory of what was learned from generations.
    pub fn memory(&self) -> PathBuf {
        self.root.join("memory")
    }

    /// File of what was typed into `card chat`.
    pub fn chat_history(&self) -> PathBuf {
        self.root.join("chat-history")
    }

    /// File of what card itself fetched into the hub's cache.
    pub fn hub_record(&self) -> PathBuf {
        self.root.join("hub-files")
    }

    /// Where the file of a model is, or will be, if its checksum is known beforehand.
    pub fn path(&self, entry: &CatalogueEntry) -> PathBuf {
        self.models().join(format!("{}.gguf", entry.name))
    }

    /// Whether the file is there, whole. (Its checksum was checked before it got its name.)
    pub fn has(&self, entry: &CatalogueEntry) -> bool {
        let there = std::fs::metadata(self.path(entry)).ok();
        let known = entry.known();
        known.is_some_and(|known| there.is_some_and(|m| m.len() == known.bytes))
    }
}
