//! Adding candidates, and changing their probabilities.

use super::node::{NONE, Node, NodeId, with_logarithm};
use super::tree::CandidateCache;
use crate::types::{Evidence, Source, Token};

impl CandidateCache {
    /// The most children of one node, whoever proposes them. Some steps take time with their
    /// number, and nobody needs so many.
    pub const MOST_CHILDREN: usize = 64;

    /// Adds the candidate `token` after `parent`.
    ///
    /// `prob` is the probability that the source gave the token, and `cond` the calibrated
    /// probability that the target writes it there. If the candidate is there already, the two
    /// are merged: the sources add up, and the larger `cond` holds. If the cache is full, the
    /// leaf of lowest reach is evicted; a node that is pinned, or has descendants, never is.
    ///
    /// Returns `None` if the parent is gone, if it has [as many children as a node may
    /// have](CandidateCache::MOST_CHILDREN), or if the cache is full of better candidates.
    /// O(log n) plus the number of siblings; raising a node that has descendants also visits
    /// all of these.
    pub fn insert(
        &mut self,
        parent: NodeId,
        token: Token,
        prob: f32,
        cond: f32,
        rank: u8,
        source: Source,
    ) -> Option<NodeId> {
        let parent_index = self.index(parent)?;
        let cond = with_logarithm(cond);
        if let Some(existing) = self.child(parent, token) {
            let node = &mut self.nodes[existing.index as usize];
            node.evidence.add(source, prob, rank);
            if cond > node.cond {
                self.recondition(existing.index, cond);
            }
            return Some(existing);
        }
        if self.children(parent).count() >= CandidateCache::MOST_CHILDREN {
            return None;
        }
        let (position, log_reach) = {
            let p = &self.nodes[parent_index as usize];
            (p.position + 1, p.log_reach + f64::from(cond).ln())
        };
        if self.live >= self.capacity && !self.evict_below(log_reach, parent_index) {
            return None;
        }
        let index = self.allocate(Node {
            parent: parent_index,
            cond,
            log_reach,
            source,
            evidence: Evidence::of(source, prob, rank),
            ..Node::root(token, position)
        });
        self.live += 1;
        self.link(parent_index, index);
        self.push_heaps(index);
        Some(self.id(index))
    }

    /// Sets the calibrated probability of a candidate, given its parent. The candidate's place
    /// among its siblings and the reach of all below it change accordingly.
    pub fn set_cond(&mut self, id: NodeId, cond: f32) {
        let cond = with_logarithm(cond);
        if let Some(index) = self.index(id)
            && index != self.root
            && self.nodes[index as usize].cond != cond
        {
            self.recondition(index, cond);
        }
    }

    /// Changes the probability of a node, and with it the reach of all below it.
    fn recondition(&mut self, index: u32, cond: f32) {
        let node = &mut self.nodes[index as usize];
        let gain = f64::from(cond).ln() - f64::from(node.cond).ln();
        node.cond = cond;
        let parent = node.parent;
        self.unlink(index);
        self.link(parent, index);
        self.stack.clear();
        self.stack.push(index);
        while let Some(i) = self.stack.pop() {
            self.nodes[i as usize].log_reach += gain;
            self.push_heaps(i);
            let mut child = self.nodes[i as usize].first_child;
            while child != NONE {
                self.stack.push(child);
                child = self.nodes[child as usize].next_sibling;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::BYTES_PER_NODE;
    use super::*;

    fn cache() -> CandidateCache {
        CandidateCache::new(0, 1000 * BYTES_PER_NODE)
    }

    #[test]
    fn what_is_no_probability_leaves_the_tree_in_order() {
        let mut cache = cache();
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.5, 7.0, 0.0];
        for (token, odd) in (0..).zip(odd) {
            let added = cache.insert(cache.root(), token, odd, odd, 0, Source::PromptLookup);
            cache.set_cond(added.unwrap(), 0.3);
            cache.set_cond(added.unwrap(), odd);
            let c = cache.get(added.unwrap()).unwrap();
            assert!((0.0..=1.0).contains(&c.reach) && (0.0..=1.0).contains(&c.prob));
            cache.check_invariants();
        }
    }

    #[test]
    fn children_of_a_node_are_bounded_in_number() {
        let mut cache = cache();
        for token in 0..500 {
            cache.insert(cache.root(), token, 0.5, 0.5, 0, Source::Draft);
        }
        assert_eq!(cache.len(), CandidateCache::MOST_CHILDREN);
        // One that is there is still heard of by others.
        let again = cache.insert(cache.root(), 3, 0.9, 0.9, 0, Source::PromptLookup);
        assert!(again.is_some());
        cache.check_invariants();
    }
}
