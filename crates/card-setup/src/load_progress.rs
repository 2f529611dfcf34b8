//! How far a model is loaded, for whoever waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which file is being loaded now, and how much of it is loaded. Clones tell of the same load.
#[derive(Clone, Debug, Default)]
pub struct LoadProgress(Arc<Mutex<Option<LoadingFile>>>);

/// A file that is being loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadingFile {
    /// What is in it: `target`, `draft`, `head`, or `model` where there is one only.
    pub what: &'static str,
    /// The part of it that is loaded, in per cent.
    pub percent: u8,
}

impl LoadProgress {
    /// The file that is being loaded now; `None` if none is, also while something is measured.
    pub fn now(&self) -> Option<LoadingFile> {
        *self.lock()
    }

    /// So much of this is loaded, 0 to 1.
    pub(crate) fn tell(&self, what: &'static str, part: f32) {
        let percent = (part.clamp(0.0, 1.0) * 100.0) as u8;
        *self.lock() = Some(LoadingFile { what, percent });
    }

    /// The file is loaded, or will not be.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<LoadingFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_hears_how_far_a_file_is_and_that_it_is_done() {
        let told = LoadProgress::default();
        let heard = told.clone();
        assert_eq!(heard.now(), None);
        for (part, percent) in [(0.0, 0), (0.426, 42), (1.0, 100), (7.0, 100), (f32::NAN, 0)] {
            told.tell("target", part);
            let what = "target";
            assert_eq!(heard.now(), Some(LoadingFile { what, percent }));
        }
        told.end();
        assert_eq!(heard.now(), None);
    }
}
