//! What the heaps hold: a node, keyed by its reach.

use std::cmp::Ordering;

/// A node keyed by its reach. Entries are never removed from the middle of a heap: an entry
/// whose node changed or was dropped is skipped when it comes up.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeapEntry {
    pub(super) key: f64,
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl PartialEq for HeapEntry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for HeapEntry {}

impl PartialOrd for HeapEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeapEntry {
    fn cmp(&self, other: &Self) -> Ordering {
        // Ties go to the older slot, so that equal inputs give equal trees.
        self.key
            .total_cmp(&other.key)
            .then_with(|| other.index.cmp(&self.index))
    }
}
