//! What is kept of one run for the next: how often each source's proposals were right for a pair,
//! and what the target wrote before (docs/sources.md says what is in these files).

use std::path::PathBuf;

use card_core::acceptance::Acceptance;
use card_core::scheduler::Learned;
use card_core::sources::Corrections;
use card_llama::LlamaModel;

use crate::findings::short_name;
use crate::models::store::Store;
use crate::sealed;

/// Size of the correction cache, in bytes.
const CORRECTION_BYTES: usize = 4 << 20;

/// The files of what was learned about a pair.
pub struct LearnedStore {
    acceptance: PathBuf,
    corrections: PathBuf,
    vocabulary: u64,
}

impl LearnedStore {
    /// The files of a target and its drafter.
    pub fn of(store: &Store, target: &LlamaModel, draft: Option<&LlamaModel>) -> Self {
        let name = |m: &LlamaModel| format!("{} {}", m.path().display(), m.info().bytes);
        let target_name = name(target);
        let pair = format!("{target_name} | {:?}", draft.map(name));
        let file = |key: &str, end: &str| {
            let name = format!("{}.{end}", short_name(key));
            store.memory().join(name)
        };
        LearnedStore {
            acceptance: file(&pair, "acceptance"),
            corrections: file(&target_name, "corrections"),
            vocabulary: target.vocab().fingerprint(),
        }
    }

    /// What was kept; what was not begins anew. A damaged file is told and set aside: it never
    /// keeps a command from starting, and never proposes what is not a token.
    pub fn load(&self) -> Learned {
        let acceptance = sealed::read(&self.acceptance, |bytes| {
            let acceptance: Acceptance =
                serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
            let fits = acceptance.fits().then_some(acceptance);
            fits.ok_or_else(|| "it is of another version".to_owned())
        });
        let corrections = sealed::read(&self.corrections, |bytes| {
            Corrections::from_bytes(bytes, self.vocabulary).map_err(|e| e.to_string())
        });
        let fresh = || Corrections::new(CORRECTION_BYTES, self.vocabulary);
        Learned {
            acceptance: acceptance.unwrap_or_default(),
            corrections: Some(corrections.unwrap_or_else(fresh)),
        }
    }

    /// Keeps what was learned. If two runs end at once, the files of the later one stay.
    pub fn save(&self, learned: &Learned) {
        let acceptance = serde_json::to_vec(&learned.acceptance).map_err(std::io::Error::other);
        let acceptance = acceptance.and_then(|bytes| sealed::write(&self.acceptance, &bytes));
        let corrections = learned.corrections.as_ref().map(Corrections::to_bytes);
        let corrections =
            corrections.map_or(Ok(()), |bytes| sealed::write(&self.corrections, &bytes));
        if let Err(error) = acceptance.and(corrections) {
            tracing::warn!("cannot keep what was learned: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sealed::{MAGIC, SUM_BYTES};

    const VOCABULARY: u64 = 7;

    fn store_in(dir: &Path) -> LearnedStore {
        LearnedStore {
            acceptance: dir.join("a.acceptance"),
            corrections: dir.join("a.corrections"),
            vocabulary: VOCABULARY,
        }
    }

    /// Of a size that a new one does not have.
    fn small() -> Learned {
        Learned {
            acceptance: Acceptance::default(),
            corrections: Some(Corrections::new(1 << 12, VOCABULARY)),
        }
    }

    fn bytes(learned: &Learned) -> usize {
        learned.corrections.as_ref().map_or(0, Corrections::bytes)
    }

    #[test]
    fn what_is_kept_comes_back_and_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(dir.path());
        store.save(&small());
        assert_eq!(bytes(&store.load()), bytes(&small()));
        #[cfg(unix)]
        for file in [&store.acceptance, &store.corrections] {
            use std::os::unix::fs::MetadataExt;
            let mode = std::fs::metadata(file).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_file_with_any_bit_changed_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(dir.path());
        for file in [&store.acceptance, &store.corrections] {
            store.save(&small());
            let whole = std::fs::read(file).unwrap();
            let step = (whole.len() / 24).max(1);
            for at in (0..whole.len()).step_by(step) {
                let mut changed = whole.clone();
                changed[at] ^= 1 << (at % 8);
                refused(&store, file, &changed);
            }
            // Cut, longer, empty, and what an earlier version wrote.
            refused(&store, file, &whole[..whole.len() - 1]);
            refused(&store, file, &[&whole[..], b"x"].concat());
            refused(&store, file, b"");
            refused(&store, file, &whole[MAGIC.len() + SUM_BYTES..]);
        }
    }

    fn refused(store: &LearnedStore, file: &Path, content: &[u8]) {
        store.save(&small());
        std::fs::write(file, content).unwrap();
        let learned = store.load();
        assert!(!file.exists());
        let mut aside = file.as_os_str().to_owned();
        aside.push(".damaged");
        assert_eq!(std::fs::read(aside).unwrap(), content);
        if file == store.corrections {
            assert_ne!(bytes(&learned), bytes(&small()));
        }
    }

    #[test]
    fn what_another_vocabulary_wrote_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_in(dir.path());
        store.save(&small());
        let other = LearnedStore {
            vocabulary: VOCABULARY + 1,
            ..store_in(dir.path())
        };
        assert_ne!(bytes(&other.load()), bytes(&small()));
    }
}
