//! What it costs that a model cannot take a rejected candidate back by itself.
//!
//! Under [`Rollback::Checkpoint`] a forward stays as a whole or not at all. If one of the n
//! candidates of a sequence is rejected, the state goes back to the one before the forward. The
//! tokens are known all the same: the last committed one, the j candidates that were accepted and
//! the token after them. The next forward decodes these j + 2 tokens and carries no candidate of
//! this sequence, so it brings the sequence one token.
//!
//! In the same time T, S sequences get λ·T tokens on average, this one its share λ·T/S. So a
//! rejection loses max(0, (λ/S)·T(S) − 1) tokens of the sequence, and the j + 1 rows that the next
//! forward has too many cost λ·(T(S + 1 + j) − T(S)) tokens. With one sequence that is
//! λ·T(2 + j) − 1. A rejection happens with probability 1 − P, where P, the reach of the last of
//! the n candidates, is the probability that all of them are accepted. The mean of j in that case
//! is (Σ reach − n·P) / (1 − P).
//!
//! Under [`Rollback::Bounded`] a rejection costs nothing, unless close decisions are made again:
//! then one row more than necessary is left out of the stem (`scheduler::stem_rules`). The next
//! forward decodes it again, which costs λ·(T(S + 1) − T(S)) tokens.
//!
//! Under either of them taking back may take time of its own (`state_cost`), which costs λ times that.
//!
//! The product is taken off the value of n candidates. λ is never below the rate of plain decoding,
//! so candidates join a forward only if, rejections included, it is expected to bring more than
//! plain decoding does in the same time.
//!
//! [`Rollback::Checkpoint`]: crate::forward::Rollback::Checkpoint
//! [`Rollback::Bounded`]: crate::forward::Rollback::Bounded

use super::repair::{RejectionCost, Repair};
use super::situation::{Base, Candidate};
use super::state::Policy;
use crate::types::SequenceId;

/// The candidates of one sequence among those that were counted: a chain.
struct CountedChain {
    sequence: SequenceId,
    /// Candidates.
    length: f64,
    /// The sum of their reaches.
    sum: f64,
    /// Reach of the last one.
    last: f64,
    /// Expected tokens that a rejection among them loses.
    loss: f64,
}

/// Counts candidates, in the order in which they would join a forward, and says what rejections
/// among them lose.
pub(super) struct Rejections<'a> {
    policy: &'a Policy,
    /// Sequences that decode.
    sequences: u32,
    /// What a rejection costs.
    cost: RejectionCost,
    /// Tokens per millisecond.
    pub(super) rate: f64,
    /// Milliseconds of a forward without candidates.
    plain_ms: f64,
    chains: Vec<CountedChain>,
    /// Expected tokens that all of them lose.
    loss: f64,
}

impl<'a> Rejections<'a> {
    /// No candidate is counted yet. The forward decodes `base` anyway.
    pub(super) fn new(policy: &'a Policy, base: Base) -> Self {
        let sequences = base.sequences.max(1);
        Rejections {
            policy,
            sequences,
            cost: policy.rejection_cost(),
            rate: policy.rate(base),
            plain_ms: policy.forward_ms(sequences),
            chains: Vec::new(),
            loss: 0.0,
        }
    }

    /// Counts one more candidate; returns the expected tokens that rejections among all of them
    /// lose.
    pub(super) fn count(&mut self, candidate: &Candidate) -> f64 {
        if self.cost == RejectionCost::from(Repair::Nothing) {
            return 0.0;
        }
        let sequence = candidate.sequence;
        let known = self.chains.iter().position(|c| c.sequence == sequence);
        let at = known.unwrap_or(self.chains.len());
        if known.is_none() {
            self.chains.push(CountedChain {
                sequence,
                length: 0.0,
                sum: 0.0,
                last: 1.0,
                loss: 0.0,
            });
        }
        let chain = &mut self.chains[at];
        let reach = f64::from(candidate.reach);
        chain.length += 1.0;
        chain.sum += reach;
        chain.last = chain.last.min(reach);
        let rejected = 1.0 - chain.last;
        let accepted = accepted_before_rejection(chain.length, chain.sum, chain.last);
        let before = chain.loss;
        let tokens = match self.cost.repair {
            Repair::Nothing => 0.0,
            Repair::OneRow => self.longer_by(1),
            Repair::Everything => {
                self.without_candidates() + self.longer_by(1 + accepted.ceil() as u32)
            }
        };
        let loss = rejected * (tokens + self.rate * self.cost.take_back_ms);
        self.chains[at].loss = loss;
        self.loss += loss - before;
        self.loss
    }

    /// Tokens that a forward without a sequence's candidates brings it less than the average.
    fn without_candidates(&self) -> f64 {
        let share = self.rate / f64::from(self.sequences);
        (share * self.plain_ms - 1.0).max(0.0)
    }

    /// Tokens' worth of the time that so many rows more take.
    fn longer_by(&self, rows: u32) -> f64 {
        let longer = self.policy.forward_ms(self.sequences + rows);
        self.rate * (longer - self.plain_ms).max(0.0)
    }
}

/// The mean number of candidates that are accepted before one is rejected, of a chain of `length`
/// candidates whose reaches have this `sum` and whose last one has the reach `last`.
pub(super) fn accepted_before_rejection(length: f64, sum: f64, last: f64) -> f64 {
    let rejected = 1.0 - last;
    if rejected <= 0.0 {
        return 0.0;
    }
    ((sum - length * last) / rejected).clamp(0.0, length - 1.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::config::Mode;
    use super::super::observe::Observation;
    use super::super::testing::{ONE, candidates, policy};
    use super::*;
    use crate::forward::Rollback;

    /// A policy of a model with one state per sequence.
    fn checkpointed(target: &[(u32, f64)]) -> Policy {
        let policy = policy(Mode::Auto, target, &[(1, 1.0)]);
        policy.within(Rollback::Checkpoint, usize::MAX)
    }

    #[test]
    fn a_mean_is_that_of_the_cases_in_which_one_is_rejected() {
        // Each is right with 0.5: the first is wrong in half of the cases, the second in a
        // quarter, in which one was accepted.
        let mean = accepted_before_rejection(2.0, 0.75, 0.25);
        assert!((mean - 1.0 / 3.0).abs() < 1e-9, "{mean}");
        assert_eq!(accepted_before_rejection(3.0, 3.0, 1.0), 0.0);
        assert_eq!(accepted_before_rejection(1.0, 0.4, 0.4), 0.0);
    }

    #[test]
    fn sure_candidates_lose_nothing_and_doubtful_ones_do_not_join() {
        let flat = [(1, 10.0), (16, 10.1)];
        let mut p = checkpointed(&flat);
        assert_eq!(p.verify_size(ONE, &candidates(&[1.0, 1.0, 1.0])).size, 3);
        assert_eq!(p.verify_size(ONE, &candidates(&[0.9, 0.8, 0.7])).size, 3);
        // Every row costs half a forward. If the candidate is wrong, the two rows of the next
        // forward cost 15 for one token.
        let steep = [(1, 10.0), (2, 15.0), (3, 20.0), (8, 45.0)];
        assert_eq!(
            checkpointed(&steep)
                .verify_size(ONE, &candidates(&[0.6]))
                .size,
            0
        );
        let mut free = policy(Mode::Auto, &steep, &[(1, 1.0)]);
        assert_eq!(free.verify_size(ONE, &candidates(&[0.6])).size, 1);
    }

    #[test]
    fn the_loss_is_what_the_next_forward_costs_beyond_its_token() {
        // At the rate of plain decoding: λ T(2 + j) - 1 with j = 0, in 0.4 of the cases.
        let p = checkpointed(&[(1, 10.0), (2, 16.0), (8, 50.0)]);
        let found = Rejections::new(&p, ONE).count(&candidates(&[0.6])[0]);
        assert!((found - 0.4 * (0.1 * 16.0 - 1.0)).abs() < 1e-6, "{found}");
        // Of a model that takes back what it is asked to nothing is lost.
        let p = policy(Mode::Auto, &[(1, 10.0), (2, 16.0)], &[]);
        assert_eq!(Rejections::new(&p, ONE).count(&candidates(&[0.6])[0]), 0.0);
    }

    #[test]
    fn a_state_that_is_dear_to_take_back_makes_doubtful_candidates_wait() {
        let flat = [(1, 10.0), (16, 10.1)];
        let doubtful = candidates(&[0.9, 0.8, 0.7]);
        for rollback in [Rollback::Checkpoint, Rollback::Bounded { rows: 4 }] {
            let policy = policy(Mode::Auto, &flat, &[(1, 1.0)]);
            let mut p = policy.within(rollback, 4);
            assert_eq!(p.verify_size(ONE, &doubtful).size, 3);
            for _ in 0..30 {
                let elapsed = Duration::from_millis(100);
                p.observe(Observation::TakenBack { elapsed });
            }
            // A candidate is worth 9 ms, and in a tenth of the cases 100 ms are lost.
            assert_eq!(p.verify_size(ONE, &doubtful).size, 0, "{rollback:?}");
            // What is sure is never taken back.
            let sure = candidates(&[1.0, 1.0]);
            assert_eq!(p.verify_size(ONE, &sure).size, 2, "{rollback:?}");
        }
    }

    #[test]
    fn where_close_decisions_are_made_again_a_bounded_rejection_costs_a_row() {
        let steep = [(1, 10.0), (2, 14.0), (8, 38.0)];
        let bounded = |redecides| {
            let policy = policy(Mode::Auto, &steep, &[(1, 1.0)]);
            let policy = policy.within(Rollback::Bounded { rows: 4 }, 4);
            policy.redeciding(redecides)
        };
        let candidate = candidates(&[0.6])[0];
        let p = bounded(false);
        assert_eq!(Rejections::new(&p, ONE).count(&candidate), 0.0);
        // The next forward takes 4 ms more, which are worth 0.4 tokens.
        let p = bounded(true);
        let found = Rejections::new(&p, ONE).count(&candidate);
        assert!((found - 0.4 * 0.1 * 4.0).abs() < 1e-6, "{found}");
        // A candidate pays for its own row, but not for that one too.
        let doubtful = candidates(&[0.5]);
        assert_eq!(bounded(false).verify_size(ONE, &doubtful).size, 1);
        assert_eq!(bounded(true).verify_size(ONE, &doubtful).size, 0);
    }

    #[test]
    fn each_sequence_has_a_rejection_of_its_own() {
        let p = checkpointed(&[(1, 10.0), (2, 12.0), (4, 16.0), (8, 24.0)]);
        let base = Base {
            sequences: 2,
            rows: 2,
        };
        let mut both = candidates(&[0.9, 0.5]);
        both[1].sequence = SequenceId(9);
        let mut rejections = Rejections::new(&p, base);
        let first = rejections.count(&both[0]);
        let second = rejections.count(&both[1]);
        assert!(
            first > 0.0 && (second - 6.0 * first).abs() < 1e-6,
            "{first} {second}"
        );
    }
}
