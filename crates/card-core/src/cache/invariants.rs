//! Everything that must hold between two calls.

use std::collections::HashSet;

use super::node::NONE;
use super::tree::CandidateCache;

impl CandidateCache {
    /// Checks everything that must hold, for tests and debug builds.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn check_invariants(&self) {
        let mut seen = 0;
        let mut stack = vec![self.root];
        while let Some(index) = stack.pop() {
            let node = &self.nodes[index as usize];
            assert!(node.live, "a dropped node is linked");
            let mut previous = f32::INFINITY;
            let mut tokens = HashSet::new();
            let mut child = node.first_child;
            while child != NONE {
                let c = &self.nodes[child as usize];
                assert_eq!(c.parent, index, "parent link");
                assert_eq!(c.position, node.position + 1, "position");
                assert!(c.cond <= previous, "siblings are sorted");
                assert!(c.log_reach <= node.log_reach + 1e-9, "reach falls");
                assert!(tokens.insert(c.token), "siblings are distinct");
                let sum = node.log_reach + f64::from(c.cond).ln();
                assert!((sum - c.log_reach).abs() < 1e-6, "reach is the product");
                previous = c.cond;
                seen += 1;
                stack.push(child);
                child = c.next_sibling;
            }
        }
        assert_eq!(seen, self.live, "live count");
        assert!(self.live <= self.capacity, "budget");
        let total = self.nodes.iter().filter(|n| n.live).count();
        assert_eq!(total, self.live + 1, "no orphan");
        assert_eq!(self.free.len() + total, self.nodes.len(), "free list");
    }
}
