//! Where model files and what we learn about them are kept.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::catalogue::Model;

/// The user's directory for card: `$CARD_HOME`, else `card` in the cache directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Finds the directory; makes nothing yet.
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

    /// Directory of the model files.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Directory of lighter copies of draft models.
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

    /// What was typed into `card chat`.
    pub fn chat_history(&self) -> PathBuf {
        self.root.join("chat-history")
    }

    /// Where the file of a model is, or will be.
    pub fn path(&self, model: &Model) -> PathBuf {
        self.models().join(format!("{}.gguf", model.name))
    }

    /// Whether the file is there, whole. (Its checksum was checked before it got its name.)
    pub fn has(&self, model: &Model) -> bool {
        std::fs::metadata(self.path(model)).is_ok_and(|m| m.len() == model.bytes)
    }
}
