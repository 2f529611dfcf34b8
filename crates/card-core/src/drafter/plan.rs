//! How a drafter drafts: what a target asks for, and what that means for one model.

use crate::cache::{BYTES_PER_NODE, CandidateCache};
use crate::forward::Limits;
use crate::policy::Lanes;
use crate::types::Source;

/// Bytes of candidates that a drafter holds per sequence at most.
const MOST_CACHE_BYTES: usize = 64 << 20;
/// Finished sequences that it keeps at most.
const MOST_PARKED: usize = 256;

/// What a target asks of a drafter, wherever that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DraftPlan {
    /// One chain, of this length; else a tree.
    pub chain: Option<u32>,
    /// Children proposed for each node of a tree.
    pub branch: usize,
    /// How far past the last committed token a tree goes.
    pub max_depth: u32,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// Finished sequences kept for prompts that begin alike.
    pub parked: usize,
    /// Whether its time is its own or the target's too.
    pub lanes: Lanes,
}

impl DraftPlan {
    /// The settings of a drafter whose model can take so much. What is asked for beyond reason
    /// is cut to that.
    pub fn config(&self, source: Source, limits: Limits, vocab: usize) -> DrafterConfig {
        let tree = self.chain.is_none();
        let branch = self.branch.min(CandidateCache::MOST_CHILDREN);
        let cache_bytes = self.cache_bytes.min(MOST_CACHE_BYTES);
        DrafterConfig {
            source,
            branch: if tree { branch } else { 1 },
            max_depth: self.chain.unwrap_or(self.max_depth),
            min_reach: match tree {
                true => DrafterConfig::least_reach(cache_bytes),
                false => 0.0,
            },
            cache_bytes,
            limits,
            vocab,
            parked: self.parked.min(MOST_PARKED),
            lanes: self.lanes,
        }
    }
}

/// Settings of a [`Drafter`].
#[derive(Clone, Copy, Debug)]
pub struct DrafterConfig {
    /// Which source it is.
    pub source: Source,
    /// Children proposed for each node.
    pub branch: usize,
    /// How far past the last committed token it drafts.
    pub max_depth: u32,
    /// Nodes of less reach are not looked past.
    pub min_reach: f32,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// What its model can take.
    pub limits: Limits,
    /// Size of its model's vocabulary.
    pub vocab: usize,
    /// Finished sequences whose KV cells are kept for a prompt that starts alike.
    pub parked: usize,
    /// Whether its time is its own or the target's too.
    pub lanes: Lanes,
}

impl DrafterConfig {
    /// Reach below which nodes are not worth looking past in a cache of so many bytes: what
    /// follows them would find no room, or make others lose theirs. The factor and the bounds
    /// are the best of those simulated (docs/simulator.md).
    pub fn least_reach(cache_bytes: usize) -> f32 {
        let nodes = (cache_bytes / BYTES_PER_NODE).max(1);
        (4.0 / nodes as f32).clamp(0.003, 0.5)
    }
}
