//! The tree itself: what it holds, and walking along it.

use std::collections::BinaryHeap;

use super::heap_entry::HeapEntry;
use super::node::{CachedCandidate, NONE, Node, NodeId};
use crate::types::Token;

/// The most candidates that a cache holds: indices stay far below [`NONE`].
const MOST_NODES: usize = 1 << 28;

/// Bytes that one candidate takes: its node and its entry in each of the two heaps.
pub const BYTES_PER_NODE: usize = size_of::<Node>() + 2 * size_of::<HeapEntry>();

/// A tree of candidates for one sequence. See the [module](super) documentation.
///
/// The invariants, which [`CandidateCache::check_invariants`] checks: every live node but the
/// root hangs below its parent; siblings are distinct tokens, sorted by falling probability;
/// there are never more candidates than the budget allows; every slot is live or free.
///
/// ```
/// use card_core::cache::{BYTES_PER_NODE, CandidateCache};
/// use card_core::types::Source;
///
/// // The last committed token has index 9, and there is room for a hundred candidates.
/// let mut cache = CandidateCache::new(9, 100 * BYTES_PER_NODE);
/// let root = cache.root();
/// let seven = cache.insert(root, 7, 0.75, 0.75, 0, Source::Draft).expect("there is room");
/// cache.insert(root, 8, 0.125, 0.125, 1, Source::Draft);
/// cache.insert(seven, 5, 0.5, 0.5, 0, Source::Draft);
///
/// // The best subtree of two candidates.
/// let mut best = Vec::new();
/// cache.query(2, 8, &mut best);
/// let tokens: Vec<u32> = best.iter().filter_map(|id| cache.get(*id)).map(|c| c.token).collect();
/// assert_eq!(tokens, [7, 5]);
///
/// // The target writes 7: what was drafted below it survives.
/// let correction = cache.correct(&[7]);
/// assert!(correction.hit);
/// assert_eq!(correction.survivors, 1);
/// ```
#[derive(Clone, Debug)]
pub struct CandidateCache {
    pub(super) nodes: Vec<Node>,
    /// Slots that hold no live node.
    pub(super) free: Vec<u32>,
    pub(super) root: u32,
    /// Number of live nodes, the root not counted.
    pub(super) live: usize,
    pub(super) capacity: usize,
    /// Number of corrections so far.
    pub(super) epoch: u64,
    /// Number of evictions so far.
    pub(super) evictions: u64,
    /// Number of the last query.
    pub(super) query_stamp: u32,
    /// Unexpanded nodes, the best first.
    pub(super) frontier: BinaryHeap<HeapEntry>,
    /// Leaves, the worst first: their keys are negated.
    pub(super) leaves: BinaryHeap<HeapEntry>,
    /// Working memory of queries.
    pub(super) scratch: BinaryHeap<HeapEntry>,
    /// Working memory of walks down a subtree.
    pub(super) stack: Vec<u32>,
}

impl CandidateCache {
    /// An empty cache below the token at index `root_position` of the sequence. It holds at most
    /// `budget_bytes / BYTES_PER_NODE` candidates, and at least one.
    pub fn new(root_position: u32, budget_bytes: usize) -> Self {
        let mut cache = CandidateCache {
            nodes: Vec::new(),
            free: Vec::new(),
            root: 0,
            live: 0,
            capacity: (budget_bytes / BYTES_PER_NODE).clamp(1, MOST_NODES),
            epoch: 0,
            evictions: 0,
            query_stamp: 0,
            frontier: BinaryHeap::new(),
            leaves: BinaryHeap::new(),
            scratch: BinaryHeap::new(),
            stack: Vec::new(),
        };
        cache.root = cache.fresh_root(0, root_position);
        cache
    }

    /// Number of candidates, the root not counted.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Number of corrections so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of candidates that were evicted so far for want of room.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The most candidates that the cache may hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that the candidates take.
    pub fn bytes(&self) -> usize {
        self.live * BYTES_PER_NODE
    }

    /// The root: the last committed token.
    pub fn root(&self) -> NodeId {
        self.id(self.root)
    }

    /// What is known of a candidate; `None` if it is gone. The root has an answer too, with
    /// reach 1.
    pub fn get(&self, id: NodeId) -> Option<CachedCandidate> {
        let node = self.node(id)?;
        let (prob, rank) = node.evidence.by(node.source);
        Some(CachedCandidate {
            token: node.token,
            position: node.position,
            prob,
            reach: self.reach_of(node),
            rank,
            source: node.source,
            sources: node.evidence.sources(),
            evidence: node.evidence,
            cond: node.cond,
            expanded: node.expanded,
        })
    }

    /// The number that the cache's owner keeps with the node ([`CandidateCache::set_tag`]); 0 if
    /// none was set, or the node is gone.
    pub fn tag(&self, id: NodeId) -> u64 {
        self.node(id).map_or(0, |n| n.tag)
    }

    /// Keeps a number of the cache's owner with the node: the name of its KV cell.
    pub fn set_tag(&mut self, id: NodeId, tag: u64) {
        if let Some(index) = self.index(id) {
            self.nodes[index as usize].tag = tag;
        }
    }

    /// The parent of a candidate; `None` for the root and for a node that is gone.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id)?;
        (id.index != self.root && node.parent != NONE).then(|| self.id(node.parent))
    }

    /// The child of `parent` with this token.
    pub fn child(&self, parent: NodeId, token: Token) -> Option<NodeId> {
        self.children(parent)
            .find(|c| self.nodes[c.index as usize].token == token)
    }

    /// The children of a node, the most probable one first.
    pub fn children(&self, parent: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let mut next = self.node(parent).map_or(NONE, |n| n.first_child);
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let id = self.id(next);
            next = self.nodes[next as usize].next_sibling;
            Some(id)
        })
    }

    /// The path of best candidates: the most probable child of `from`, the most probable child
    /// of that one, and so on.
    pub fn best_path(&self, from: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let first = self.children(from).next();
        std::iter::successors(first, |at| self.children(*at).next())
    }

    /// Follows `tokens` down from the root as far as they are cached. Returns the last node that
    /// was reached, and the number of tokens that were followed.
    pub fn walk(&self, tokens: &[Token]) -> (NodeId, usize) {
        let mut at = self.root();
        for (i, &token) in tokens.iter().enumerate() {
            match self.child(at, token) {
                Some(child) => at = child,
                None => return (at, i),
            }
        }
        (at, tokens.len())
    }

    /// The tokens from the root (excluded) to `id` (included); none if the node is gone.
    pub fn path(&self, id: NodeId) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut at = id.index;
        if self.index(id).is_none() {
            return tokens;
        }
        while at != self.root {
            tokens.push(self.nodes[at as usize].token);
            at = self.nodes[at as usize].parent;
        }
        tokens.reverse();
        tokens
    }
}
