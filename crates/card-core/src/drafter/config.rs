//! What a plan means for one draft model.

use crate::cache::{BYTES_PER_NODE, CandidateCache};
use crate::forward::Limits;
use crate::protocol::{DraftPlan, Lanes};
use crate::types::Source;

/// Bytes of candidates that a drafter holds per sequence at most.
const MOST_CACHE_BYTES: usize = 64 << 20;
/// Finished sequences whose KV cells a drafter keeps at most.
const MOST_PREFIX_SLOTS: usize = 256;

/// Settings of a [`Drafter`](super::Drafter); [`DraftPlan::config`] makes them of what a target
/// asks for.
#[derive(Clone, Copy, Debug)]
pub struct DrafterConfig {
    /// Which source the drafter is.
    pub source: Source,
    /// Children proposed for each node.
    pub branch: usize,
    /// How far past the last committed token it drafts.
    pub max_depth: u32,
    /// Nodes of less reach are not looked past.
    pub min_reach: f32,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// What one forward of the draft model can take.
    pub limits: Limits,
    /// Size of the draft model's vocabulary.
    pub vocab: usize,
    /// Finished sequences whose KV cells are kept for a prompt that starts alike.
    pub prefix_slots: usize,
    /// Whether the drafter's time is its own or the target's too.
    pub lanes: Lanes,
}

impl DrafterConfig {
    /// Whether the drafter reads ahead where its text repeats itself (`read_ahead`): on a lane of its
    /// own, with a model that decodes trees.
    pub(super) fn reads_ahead(&self) -> bool {
        let tree = self.branch > 1 && self.limits.rollback.is_free();
        tree && self.lanes == Lanes::Disjoint && self.source.drafter().is_some()
    }

    /// Reach below which nodes are not worth looking past in a cache of so many bytes: what
    /// follows them would find no room, or make others lose theirs. The factor and the bounds
    /// are the best of those simulated (docs/simulator.md).
    ///
    /// ```
    /// use card_core::drafter::DrafterConfig;
    ///
    /// let (small, large) = (1 << 12, 1 << 20);
    /// assert!(DrafterConfig::least_reach(small) > DrafterConfig::least_reach(large));
    /// ```
    pub fn least_reach(cache_bytes: usize) -> f32 {
        let nodes = (cache_bytes / BYTES_PER_NODE).max(1);
        (4.0 / nodes as f32).clamp(0.003, 0.5)
    }
}

impl DraftPlan {
    /// The settings of a drafter whose model can take so much. A number that is larger than any
    /// use is cut to the largest that is of use.
    pub fn config(&self, source: Source, limits: Limits, vocab: usize) -> DrafterConfig {
        let cache_bytes = self.cache_bytes.min(MOST_CACHE_BYTES);
        let (branch, max_depth, min_reach) = match self.chain {
            Some(length) => (1, length, 0.0),
            None => (
                self.branch.min(CandidateCache::MOST_CHILDREN),
                self.max_depth,
                DrafterConfig::least_reach(cache_bytes),
            ),
        };
        DrafterConfig {
            source,
            branch,
            max_depth,
            min_reach,
            cache_bytes,
            limits,
            vocab,
            prefix_slots: self.prefix_slots.min(MOST_PREFIX_SLOTS),
            lanes: self.lanes,
        }
    }
}
