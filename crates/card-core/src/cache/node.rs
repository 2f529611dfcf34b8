//! One candidate of the tree, and its names.

use crate::types::{Evidence, Prob, Source, SourceSet, Token};

/// The index that stands for "no node".
pub(super) const NONE: u32 = u32::MAX;

/// The probability of what is as good as impossible: logarithms must be finite.
const LEAST: f32 = 1e-6;

/// Names a node. Once its node was dropped, the name stays invalid for ever, even when the slot
/// is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What the cache tells about one candidate.
#[derive(Clone, Copy, Debug)]
pub struct CachedCandidate {
    /// The candidate's token.
    pub token: Token,
    /// Index of this token in the sequence, prompt included.
    pub position: u32,
    /// The probability that the first source gave the token.
    pub prob: f32,
    /// Calibrated probability that the target walks through the candidate, from the root as it
    /// is now.
    pub reach: f32,
    /// The candidate's place among its siblings when it was proposed; 0 is the best.
    pub rank: u8,
    /// The source that proposed the candidate first.
    pub source: Source,
    /// Every source that proposed the candidate.
    pub sources: SourceSet,
    /// What each of these sources said.
    pub evidence: Evidence,
    /// Calibrated probability of the candidate, given that the target wrote its parent.
    pub cond: f32,
    /// Whether a drafter already proposed what follows the candidate.
    pub expanded: bool,
}

/// A slot of the tree: a candidate, the root, or a slot that is free.
///
/// For every live node but the root: `position` is the parent's plus one, `log_reach` is the
/// parent's plus ln(`cond`), and the siblings in the list that starts at the parent's
/// `first_child` are sorted by falling `cond` and have distinct tokens.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) token: Token,
    pub(super) position: u32,
    pub(super) parent: u32,
    pub(super) first_child: u32,
    pub(super) next_sibling: u32,
    /// How often the slot was freed: a [`NodeId`] of an earlier generation is invalid.
    pub(super) generation: u32,
    /// Calibrated probability given that the parent is on the target's path.
    pub(super) cond: f32,
    /// Sum of ln(cond) from the node that was the root when the cache was made.
    pub(super) log_reach: f64,
    /// A number of the cache's owner. The scheduler and the drafter keep the name of the node's
    /// KV cell here; 0 is none.
    pub(super) tag: u64,
    pub(super) source: Source,
    pub(super) evidence: Evidence,
    /// Forwards that use the node now. While there is one, the node is not evicted.
    pub(super) pins: u8,
    pub(super) expanded: bool,
    pub(super) live: bool,
    /// The number of the last query that chose a child of this node.
    pub(super) queried: u32,
}

impl Node {
    /// A live, unexpanded node without links and without evidence: a root.
    pub(super) fn root(token: Token, position: u32) -> Self {
        Node {
            token,
            position,
            parent: NONE,
            first_child: NONE,
            next_sibling: NONE,
            generation: 0,
            cond: 1.0,
            log_reach: 0.0,
            tag: 0,
            source: Source::Draft,
            evidence: Evidence::default(),
            pins: 0,
            expanded: false,
            live: true,
            queried: 0,
        }
    }
}

/// The probability nearest to `cond` that has a finite logarithm.
pub(super) fn with_logarithm(cond: f32) -> f32 {
    Prob::clamped(cond).get().max(LEAST)
}
