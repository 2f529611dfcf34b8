//! How often the target wrote what was proposed, by source, probability and rank.

use serde::{Deserialize, Serialize};

use crate::types::{SOURCES, Source};

const BUCKETS: usize = 12;
const RANKS: usize = 4;
/// When more observations than this were counted, all are halved, so that the estimate follows a
/// change of topic.
const MEMORY: f32 = 400.0;

/// Upper bounds of the buckets: finer towards 1, where most proposals are.
const BOUNDS: [f32; BUCKETS] = [
    0.01, 0.03, 0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.82, 0.92, 0.98, 1.01,
];

/// The counts of a Beta distribution. `accepted` is at most `seen`, and `seen` at most
/// [`MEMORY`]; both are halved from time to time, so they are no whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct BetaCount {
    accepted: f32,
    seen: f32,
}

impl BetaCount {
    /// The expected probability, if the `prior` counts like `weight` observations.
    pub(super) fn expect(self, prior: f32, weight: f32) -> f32 {
        (self.accepted + weight * prior) / (self.seen + weight)
    }

    fn observe(&mut self, accepted: bool) {
        self.seen += 1.0;
        self.accepted += f32::from(u8::from(accepted));
        if self.seen > MEMORY {
            self.seen /= 2.0;
            self.accepted /= 2.0;
        }
    }

    /// Whether observations can have led to these counts.
    fn is_possible(self) -> bool {
        (0.0..=MEMORY).contains(&self.seen) && (0.0..=self.seen).contains(&self.accepted)
    }
}

/// Beta counts per (source, probability bucket, rank).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts([[[BetaCount; RANKS]; BUCKETS]; SOURCES]);

impl Counts {
    /// The count that a proposal belongs to.
    pub(super) fn at(&self, source: Source, prob: f32, rank: u8) -> BetaCount {
        self.0[source.index()][bucket(prob)][rank_slot(rank)]
    }

    /// Counts that the target did or did not write a proposed token.
    pub(super) fn observe(&mut self, source: Source, prob: f32, rank: u8, accepted: bool) {
        self.0[source.index()][bucket(prob)][rank_slot(rank)].observe(accepted);
    }

    /// Whether observations can have led to all of these counts.
    pub(super) fn are_possible(&self) -> bool {
        let mut counts = self.0.iter().flatten().flatten();
        counts.all(|c| c.is_possible())
    }
}

fn bucket(prob: f32) -> usize {
    BOUNDS.iter().position(|&b| prob < b).unwrap_or(BUCKETS - 1)
}

fn rank_slot(rank: u8) -> usize {
    usize::from(rank).min(RANKS - 1)
}
