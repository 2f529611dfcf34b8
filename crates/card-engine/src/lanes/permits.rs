//! How many drafters may attach themselves at a time: a counting semaphore that never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Drafters that may be attached at a time.
pub(crate) const MOST_ATTACHED: usize = 64;

/// The semaphore: the number of permits that are out. Its clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct AttachPermits(Arc<AtomicUsize>);

/// One permit. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct AttachPermit(AttachPermits);

impl AttachPermits {
    /// Takes a permit; `None` if all are out.
    pub(crate) fn take(&self) -> Option<AttachPermit> {
        // If none was left, the permit is dropped here, which takes the count back.
        let permit = AttachPermit(self.clone());
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        (before < MOST_ATTACHED).then_some(permit)
    }
}

impl Drop for AttachPermit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_permits_and_each_is_given_back() {
        let permits = AttachPermits::default();
        for _ in 0..3 {
            let taken: Vec<AttachPermit> =
                (0..MOST_ATTACHED).filter_map(|_| permits.take()).collect();
            assert_eq!(taken.len(), MOST_ATTACHED);
            for _ in 0..100 {
                assert!(permits.take().is_none());
            }
        }
    }
}
