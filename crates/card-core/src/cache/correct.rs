//! What the target wrote: the tree gets a new root.

use super::node::NONE;
use super::tree::CandidateCache;
use crate::types::Token;

/// What [`CandidateCache::correct`] found.
///
/// ```
/// use card_core::cache::{BYTES_PER_NODE, CandidateCache, Correction};
/// use card_core::types::Source;
///
/// let mut cache = CandidateCache::new(9, 100 * BYTES_PER_NODE);
/// let root = cache.root();
/// cache.insert(root, 7, 0.75, 0.75, 0, Source::Draft);
/// // The target writes 7 as proposed, and then 5, which nobody proposed: a miss.
/// let miss = Correction {
///     matched: 1,
///     hit: false,
///     survivors: 0,
/// };
/// assert_eq!(cache.correct(&[7, 5]), miss);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// How many of the committed tokens were in the cache, from the first one on.
    pub matched: usize,
    /// Whether all of them were, so that the work below them survived.
    pub hit: bool,
    /// Candidates that are still cached.
    pub survivors: usize,
}

impl CandidateCache {
    /// Commits `tokens`: the node at their end becomes the root, and its subtree survives.
    /// Everything else is dropped. If the tokens leave the tree, the cache is empty afterwards.
    /// O(number of dropped candidates).
    pub fn correct(&mut self, tokens: &[Token]) -> Correction {
        self.epoch += 1;
        let (node, matched) = self.walk(tokens);
        let hit = matched == tokens.len();
        let old_root = self.root;
        if hit {
            let new_root = node.index;
            self.drop_subtree_except(old_root, new_root);
            if new_root != old_root {
                // The new root is no candidate any more.
                self.live -= 1;
                let n = &mut self.nodes[new_root as usize];
                n.parent = NONE;
                n.next_sibling = NONE;
                n.pins = 0;
                self.root = new_root;
            }
        } else {
            let position = self.nodes[old_root as usize].position + tokens.len() as u32;
            let token = tokens.last().copied().unwrap_or_default();
            self.drop_subtree_except(old_root, NONE);
            self.root = self.fresh_root(token, position);
        }
        self.compact_heaps();
        Correction {
            matched,
            hit,
            survivors: self.live,
        }
    }

    /// Drops `from` and everything below it but `keep` and what is below that.
    fn drop_subtree_except(&mut self, from: u32, keep: u32) {
        if from == keep {
            return;
        }
        self.stack.clear();
        self.stack.push(from);
        while let Some(index) = self.stack.pop() {
            let mut child = self.nodes[index as usize].first_child;
            while child != NONE {
                if child != keep {
                    self.stack.push(child);
                }
                child = self.nodes[child as usize].next_sibling;
            }
            self.release(index);
            if index != from {
                self.live -= 1;
            }
        }
    }
}
