//! Making room: the leaf of lowest reach goes, unless a forward uses it.

use super::node::{NONE, NodeId};
use super::tree::CandidateCache;

impl CandidateCache {
    /// Evicts the leaf of lowest reach, other than `keep`, if its reach is below `log_reach`.
    /// Returns whether a leaf was evicted.
    pub(super) fn evict_below(&mut self, log_reach: f64, keep: u32) -> bool {
        let mut spared = None;
        let mut done = false;
        while let Some(&worst) = self.leaves.peek() {
            let holds = self.leaf_entry_holds(&worst);
            if holds && -worst.key >= log_reach {
                break;
            }
            self.leaves.pop();
            if !holds {
                continue;
            }
            if worst.index == keep {
                spared = Some(worst);
                continue;
            }
            let parent = self.nodes[worst.index as usize].parent;
            self.unlink(worst.index);
            self.release(worst.index);
            self.live -= 1;
            self.evictions += 1;
            if parent != self.root && self.nodes[parent as usize].first_child == NONE {
                self.push_leaf(parent);
            }
            done = true;
            break;
        }
        self.leaves.extend(spared);
        done
    }

    /// Keeps a node from eviction while a forward uses it. Every pin needs an
    /// [unpin](CandidateCache::unpin) of its own.
    pub fn pin(&mut self, id: NodeId) {
        if let Some(index) = self.index(id) {
            let pins = &mut self.nodes[index as usize].pins;
            *pins = pins.saturating_add(1);
        }
    }

    /// Takes back one [`CandidateCache::pin`].
    pub fn unpin(&mut self, id: NodeId) {
        if let Some(index) = self.index(id) {
            let node = &mut self.nodes[index as usize];
            node.pins = node.pins.saturating_sub(1);
            if node.pins == 0 && node.first_child == NONE && index != self.root {
                self.push_leaf(index);
            }
        }
    }
}
