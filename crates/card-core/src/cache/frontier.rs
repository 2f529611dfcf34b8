//! The candidates that a drafter looks at next.

use super::node::NodeId;
use super::tree::CandidateCache;

impl CandidateCache {
    /// The unexpanded nodes of highest reach, the best one first: at most `n` of them, at most
    /// `max_depth` tokens below the root, each with a reach of at least `min_reach`. The root is
    /// never one of them.
    pub fn frontier(&mut self, n: usize, max_depth: u32, min_reach: f32, out: &mut Vec<NodeId>) {
        out.clear();
        self.scratch.clear();
        let root_position = self.nodes[self.root as usize].position;
        let floor = self.nodes[self.root as usize].log_reach + f64::from(min_reach).ln();
        let mut last = None;
        while out.len() < n {
            let Some(&top) = self.frontier.peek() else {
                break;
            };
            if !self.frontier_entry_holds(&top) {
                self.frontier.pop();
                continue;
            }
            if top.key < floor {
                break;
            }
            self.frontier.pop();
            // A probability that was changed there and back leaves the same entry twice, and
            // equal entries come up one behind the other.
            if last.replace(top.index) == Some(top.index) {
                continue;
            }
            self.scratch.push(top);
            let node = &self.nodes[top.index as usize];
            if node.position - root_position <= max_depth {
                out.push(self.id(top.index));
            }
        }
        self.frontier.append(&mut self.scratch);
    }

    /// Says that a drafter proposed what follows this node: it leaves the frontier.
    pub fn mark_expanded(&mut self, id: NodeId) {
        if let Some(index) = self.index(id) {
            self.nodes[index as usize].expanded = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::tree::BYTES_PER_NODE;
    use super::*;
    use crate::types::Source;

    fn cache() -> CandidateCache {
        CandidateCache::new(0, 1000 * BYTES_PER_NODE)
    }

    #[test]
    fn a_probability_changed_there_and_back_names_no_node_twice() {
        let mut cache = cache();
        for token in 0..4 {
            let added = cache.insert(cache.root(), token, 0.2, 0.2, 0, Source::Draft);
            let id = added.unwrap();
            for _ in 0..5 {
                cache.set_cond(id, 0.1);
                cache.set_cond(id, 0.2);
            }
        }
        let mut out = Vec::new();
        for _ in 0..3 {
            cache.frontier(9, 9, 0.0, &mut out);
            let distinct: HashSet<_> = out.iter().collect();
            assert_eq!((out.len(), distinct.len()), (4, 4));
        }
        cache.check_invariants();
    }
}
