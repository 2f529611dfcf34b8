//! Places for drafters that come by themselves: there are only so many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Drafters that may be attached at a time.
pub(crate) const MOST_ATTACHED: usize = 64;

/// The places that are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<AtomicUsize>);

/// One that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Places);

impl Places {
    /// Takes a place, if there is one.
    pub(crate) fn take(&self) -> Option<Place> {
        // Dropped again if there was no room, which gives it back.
        let place = Place(self.clone());
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        (before < MOST_ATTACHED).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_each_is_given_back() {
        let places = Places::default();
        for _ in 0..3 {
            let taken: Vec<Place> = (0..MOST_ATTACHED).filter_map(|_| places.take()).collect();
            assert_eq!(taken.len(), MOST_ATTACHED);
            for _ in 0..100 {
                assert!(places.take().is_none());
            }
        }
    }
}
