//! Upkeep of the two heaps: unexpanded nodes (the frontier), and leaves.
//!
//! Changing a node leaves its old entries where they are. An entry *holds* if its node is as it
//! was when the entry was pushed; the others are skipped when they come up, and thrown out when
//! they are most of a heap.

use super::heap_entry::HeapEntry;
use super::node::NONE;
use super::tree::CandidateCache;

impl CandidateCache {
    /// Adds a node to the heap of the query that is being answered.
    pub(super) fn push_scratch(&mut self, index: u32) {
        if index != NONE {
            let entry = self.entry(index);
            self.scratch.push(entry);
        }
    }

    /// The heap entry of a node as it is now.
    pub(super) fn entry(&self, index: u32) -> HeapEntry {
        let node = &self.nodes[index as usize];
        HeapEntry {
            key: node.log_reach,
            index,
            generation: node.generation,
        }
    }

    /// Says that a node is a leaf.
    pub(super) fn push_leaf(&mut self, index: u32) {
        let mut entry = self.entry(index);
        entry.key = -entry.key;
        self.leaves.push(entry);
    }

    /// Says that a node is new, or has another reach than before.
    pub(super) fn push_heaps(&mut self, index: u32) {
        let (leaf, open) = {
            let n = &self.nodes[index as usize];
            (n.first_child == NONE, !n.expanded)
        };
        if open {
            let entry = self.entry(index);
            self.frontier.push(entry);
        }
        if leaf {
            self.push_leaf(index);
        }
        if self.frontier.len().max(self.leaves.len()) > 4 * self.live + 64 {
            self.compact_heaps();
        }
    }

    /// Whether an entry of the frontier names an unexpanded candidate of that reach.
    pub(super) fn frontier_entry_holds(&self, e: &HeapEntry) -> bool {
        let n = &self.nodes[e.index as usize];
        n.live
            && n.generation == e.generation
            && n.log_reach == e.key
            && !n.expanded
            && e.index != self.root
    }

    /// Whether an entry among the leaves names a leaf of that reach that may be evicted.
    pub(super) fn leaf_entry_holds(&self, e: &HeapEntry) -> bool {
        let n = &self.nodes[e.index as usize];
        n.live
            && n.generation == e.generation
            && n.log_reach == -e.key
            && n.first_child == NONE
            && n.pins == 0
            && e.index != self.root
    }

    /// Rebuilds a heap in place if most of its entries do not hold. Amortised O(1) per
    /// insertion.
    pub(super) fn compact_heaps(&mut self) {
        if self.frontier.len() > 2 * self.live + 64 {
            let mut heap = std::mem::take(&mut self.frontier);
            heap.retain(|e| self.frontier_entry_holds(e));
            self.frontier = heap;
        }
        if self.leaves.len() > 2 * self.live + 64 {
            let mut heap = std::mem::take(&mut self.leaves);
            heap.retain(|e| self.leaf_entry_holds(e));
            self.leaves = heap;
        }
    }
}
