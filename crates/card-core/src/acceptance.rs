//! Acceptance calibration: what a proposed probability is worth.
//!
//! A draft model's 0.9, a suffix match and a predicted output are not comparable as
//! they come. For each (source, bucket of proposed probability, rank) this keeps a Beta
//! count of how often the target wrote the proposed token, which makes them so. The
//! prior believes the source, with the weight of a few observations.

use crate::cache::CandidateCache;
use crate::types::{Source, Token};

const BUCKETS: usize = 12;
const RANKS: usize = 4;
const PRIOR_WEIGHT: f32 = 4.0;
/// Counts are halved here, so that the estimate follows a change of topic.
const MEMORY: f32 = 400.0;

/// Upper bounds of the buckets: finer towards 1, where most proposals are.
const BOUNDS: [f32; BUCKETS] = [
    0.01, 0.03, 0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.82, 0.92, 0.98, 1.01,
];

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    accepted: f32,
    seen: f32,
}

/// Beta counts per (source, probability bucket, rank).
#[derive(Clone, Debug)]
pub struct Acceptance {
    counts: [[[Count; RANKS]; BUCKETS]; Source::ALL.len()],
}

impl Default for Acceptance {
    fn default() -> Self {
        Acceptance {
            counts: [[[Count::default(); RANKS]; BUCKETS]; Source::ALL.len()],
        }
    }
}

impl Acceptance {
    /// Probability that the target writes a token which `source` proposed with
    /// probability `prob` as its number `rank`, given that the target got there.
    pub fn expect(&self, source: Source, prob: f32, rank: u8) -> f32 {
        let count = &self.counts[source.index()][bucket(prob)][rank_slot(rank)];
        let prior = prob.clamp(0.001, 0.999);
        (count.accepted + PRIOR_WEIGHT * prior) / (count.seen + PRIOR_WEIGHT)
    }

    /// Learns from what the target wrote: every candidate that was proposed for one of
    /// these positions, chosen or not. Call it before [`CandidateCache::correct`].
    pub fn learn(&mut self, cache: &CandidateCache, committed: &[Token]) {
        let mut at = cache.root();
        for &token in committed {
            let mut next = None;
            for id in cache.children(at) {
                let Some(c) = cache.get(id) else { continue };
                self.observe(c.source, c.prob, c.rank, c.token == token);
                if c.token == token {
                    next = Some(id);
                }
            }
            match next {
                Some(id) => at = id,
                None => return,
            }
        }
    }

    /// Learns that the target did or did not write a proposed token.
    pub fn observe(&mut self, source: Source, prob: f32, rank: u8, accepted: bool) {
        let count = &mut self.counts[source.index()][bucket(prob)][rank_slot(rank)];
        count.seen += 1.0;
        count.accepted += f32::from(accepted as u8);
        if count.seen > MEMORY {
            count.seen /= 2.0;
            count.accepted /= 2.0;
        }
    }
}

fn bucket(prob: f32) -> usize {
    BOUNDS.iter().position(|&b| prob < b).unwrap_or(BUCKETS - 1)
}

fn rank_slot(rank: u8) -> usize {
    usize::from(rank).min(RANKS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn believes_the_source_until_it_knows_better() {
        let mut a = Acceptance::default();
        assert!((a.expect(Source::Draft, 0.6, 0) - 0.6).abs() < 1e-6);
        for _ in 0..200 {
            a.observe(Source::Draft, 0.6, 0, true);
        }
        assert!(a.expect(Source::Draft, 0.6, 0) > 0.97);
        // Neither another source nor another rank learns from that.
        assert!((a.expect(Source::Suffix, 0.6, 0) - 0.6).abs() < 1e-6);
        assert!((a.expect(Source::Draft, 0.6, 1) - 0.6).abs() < 1e-6);
    }

    #[test]
    fn follows_a_change() {
        let mut a = Acceptance::default();
        for _ in 0..1000 {
            a.observe(Source::Draft, 0.9, 0, true);
        }
        for _ in 0..800 {
            a.observe(Source::Draft, 0.9, 0, false);
        }
        assert!(a.expect(Source::Draft, 0.9, 0) < 0.3);
    }
}
