//! The candidates that the next target forward could verify.

use super::node::NodeId;
use super::tree::CandidateCache;

impl CandidateCache {
    /// The best subtree: up to `max_nodes` candidates of highest reach, with at most `max_leaves`
    /// leaves among them. They come in falling order of reach, and every parent before its
    /// children, so any prefix of the answer is a subtree too. O(m log m) for m answers.
    pub fn query(&mut self, max_nodes: usize, max_leaves: usize, out: &mut Vec<NodeId>) {
        out.clear();
        self.scratch.clear();
        self.query_stamp = self.query_stamp.wrapping_add(1).max(1);
        let mut leaves = 0;
        let first = self.nodes[self.root as usize].first_child;
        self.push_scratch(first);
        while out.len() < max_nodes {
            let Some(entry) = self.scratch.pop() else {
                break;
            };
            let (next_sibling, first_child, parent) = {
                let n = &self.nodes[entry.index as usize];
                (n.next_sibling, n.first_child, n.parent)
            };
            self.push_scratch(next_sibling);
            // The first chosen child prolongs its parent's path, every other one adds a leaf.
            let adds_leaf =
                parent == self.root || self.nodes[parent as usize].queried == self.query_stamp;
            if adds_leaf && leaves >= max_leaves {
                continue;
            }
            leaves += usize::from(adds_leaf);
            self.nodes[parent as usize].queried = self.query_stamp;
            out.push(self.id(entry.index));
            self.push_scratch(first_child);
        }
    }
}
