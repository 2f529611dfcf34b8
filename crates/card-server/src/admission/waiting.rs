//! Waits that are counted.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A wait for a slot that is counted as long as this lives, so that a caller that goes away is
/// not counted any more.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// Counts a wait from now on.
    pub(super) fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
