//! What is kept from one run to the next: what the sources' words are worth for a pair,
//! and what the target wrote before (docs/sources.md says what is in these files).

use std::io::Write;
use std::path::{Path, PathBuf};

use card_core::engine::Memory;
use card_core::sources::Corrections;
use card_llama::LlamaModel;

use crate::models::store::Store;
use crate::profile::short_name;

/// Size of the correction cache.
const CORRECTION_BYTES: usize = 4 << 20;

/// Where the memory of a pair is.
pub struct Kept {
    acceptance: PathBuf,
    corrections: PathBuf,
    vocabulary: u64,
}

impl Kept {
    /// Of a target and its drafter.
    pub fn of(store: &Store, target: &LlamaModel, draft: Option<&LlamaModel>) -> Self {
        let name = |m: &LlamaModel| format!("{} {}", m.path().display(), m.info().bytes);
        let target_name = name(target);
        let pair = format!("{target_name} | {:?}", draft.map(name));
        let file = |key: &str, end: &str| {
            let name = format!("{}.{end}", short_name(key));
            store.memory().join(name)
        };
        Kept {
            acceptance: file(&pair, "acceptance.json"),
            corrections: file(&target_name, "corrections"),
            vocabulary: target.vocab().fingerprint(),
        }
    }

    /// What was kept; the rest begins anew. Broken files are told and left out.
    pub fn load(&self) -> Memory {
        let read = |file: &Path| std::fs::read(file).ok();
        let acceptance = read(&self.acceptance).and_then(|bytes| {
            let acceptance = serde_json::from_slice(&bytes);
            let acceptance: card_core::acceptance::Acceptance = acceptance.ok()?;
            acceptance.fits().then_some(acceptance)
        });
        let fresh = || Corrections::new(CORRECTION_BYTES, self.vocabulary);
        let corrections = match read(&self.corrections) {
            None => fresh(),
            Some(bytes) => Corrections::from_bytes(&bytes, self.vocabulary).unwrap_or_else(|e| {
                tracing::warn!("{} is not used: {e}", self.corrections.display());
                fresh()
            }),
        };
        Memory {
            acceptance: acceptance.unwrap_or_default(),
            corrections: Some(corrections),
        }
    }

    /// Keeps it. Two runs at once do not mix; the later one's file stays.
    pub fn save(&self, memory: &Memory) {
        let acceptance = serde_json::to_vec(&memory.acceptance).map_err(std::io::Error::other);
        let acceptance = acceptance.and_then(|bytes| replace(&self.acceptance, &bytes));
        let corrections = memory.corrections.as_ref().map(Corrections::to_bytes);
        let corrections = corrections.map_or(Ok(()), |bytes| replace(&self.corrections, &bytes));
        if let Err(error) = acceptance.and(corrections) {
            tracing::warn!("cannot keep what was learned: {error}");
        }
    }
}

/// Puts a whole file in the place of another, readable by its owner only.
fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(bytes)?;
    new.persist(file)?;
    Ok(())
}
