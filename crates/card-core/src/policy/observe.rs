//! What the policy learns from what happened.

use std::time::Duration;

use super::budget::{EXPLORE, RoundTime};
use super::config::Mode;
use super::rate::WithoutDrafters;
use super::situation::Base;
use super::state::Policy;
use crate::types::{Rows, Source};

/// Something that happened, and the time it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// A drafter took a step.
    Draft {
        /// The drafter.
        source: Source,
        /// Rows of its forward.
        rows: Rows,
        /// Time of its forward.
        elapsed: Duration,
    },
    /// The target read a part of a prompt. Such a round says nothing about speculation.
    Prefill {
        /// Rows of the forward.
        rows: u32,
        /// Time of the forward.
        elapsed: Duration,
    },
    /// What candidates that were rejected had changed was taken back, of a target that cannot take
    /// back any token.
    TakenBack {
        /// Time it took, beside forwards.
        elapsed: Duration,
    },
    /// The state behind a stem was saved.
    StateSaved {
        /// Time it took.
        elapsed: Duration,
    },
    /// A sequence began with a saved state.
    StateResumed {
        /// Time it took.
        elapsed: Duration,
    },
    /// The target finished a round in which it read no prompt.
    Round {
        /// What the forward decoded without any candidate.
        base: Base,
        /// Rows of the forward, candidates and padding included.
        rows: u32,
        /// Candidates among these rows.
        candidates: u32,
        /// Time of the forward.
        forward: Duration,
        /// Time since the round before ended: drafting and waiting included.
        round: Duration,
        /// Tokens that were committed, of all sequences.
        tokens: u32,
        /// Those of them that would have come without draft models too: other sources proposed them,
        /// or the target wrote them itself.
        without_drafters: u32,
    },
}

impl Policy {
    /// Learns from something that happened.
    pub fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Draft {
                source,
                rows,
                elapsed,
            } => {
                if source == Source::Head {
                    self.head.observe(rows.get(), elapsed);
                } else if let Some(i) = source.drafter() {
                    self.drafts[i].observe(rows.get(), elapsed);
                }
            }
            Observation::Prefill { rows, elapsed } => self.target.observe(rows, elapsed),
            Observation::TakenBack { elapsed } => self.states.taken_back(elapsed),
            Observation::StateSaved { elapsed } => self.states.saved(elapsed),
            Observation::StateResumed { elapsed } => self.states.resumed(elapsed),
            Observation::Round {
                base,
                rows,
                candidates,
                forward,
                round,
                tokens,
                without_drafters,
            } => {
                let ms = round.as_secs_f64() * 1e3;
                let without = WithoutDrafters {
                    tokens: f64::from(without_drafters),
                    ms: self.ms_without_drafters(rows, forward, ms),
                };
                self.target.observe(rows, forward);
                // A round that decodes what was taken back is speculation's doing, and measures
                // nothing of plain decoding.
                let repairs = !self.rollback.is_free() && base.rows > base.sequences;
                // Nor does one that is filled up further than plain rounds are, to decide a
                // near-tie again.
                let wider = rows > self.padded(base.rows);
                let speculated = candidates > 0 || repairs || wider;
                self.observe_round(base, speculated, ms, f64::from(tokens), without);
            }
        }
    }

    /// Milliseconds that a round of `ms` would have taken if no drafter on another lane had slowed
    /// its forward of so many rows down.
    fn ms_without_drafters(&self, rows: u32, forward: Duration, ms: f64) -> f64 {
        /// No drafter makes a forward take ten times as long. Where one seems to, the cost curves are wrong.
        const LEAST: f64 = 0.1;
        let Some(gate) = self.gate.as_ref().filter(|gate| !gate.is_closed()) else {
            return ms;
        };
        let share = gate.other_ms(rows) / self.target.ms(rows);
        let share = if share.is_finite() {
            share.clamp(LEAST, 1.0)
        } else {
            1.0
        };
        let forward_ms = (forward.as_secs_f64() * 1e3).min(ms);
        ms - forward_ms * (1.0 - share)
    }

    /// Learns from a round of `ms` milliseconds; `speculated` says whether the forward differed
    /// from one of plain decoding.
    fn observe_round(
        &mut self,
        base: Base,
        speculated: bool,
        ms: f64,
        tokens: f64,
        without: WithoutDrafters,
    ) {
        let drafters_count = !self.rates.is_led() && !self.drafters_gated();
        self.rates
            .add(tokens, ms, drafters_count.then_some(without));
        let plain_rate = self.plain_rate(base.sequences);
        let plain_ms = tokens / plain_rate;
        if let Some(gate) = &mut self.gate {
            // What a lookup chain brought is not the drafters' doing, nor what a head brings beside
            // them.
            let gain = if drafters_count {
                tokens - ms * without.rate().max(plain_rate)
            } else {
                0.0
            };
            let lose = self.rates.drafters_lose(plain_rate);
            gate.settle(gain, EXPLORE * tokens, lose, &mut self.target);
        }
        let could_be_plain = self.config.mode == Mode::Auto;
        let time = RoundTime {
            ms,
            plain_ms,
            forward_ms: self.plain_forward_ms(base.sequences),
        };
        self.exploration
            .note_round(time, speculated, could_be_plain);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ONE, policy};
    use super::*;

    #[test]
    fn a_round_without_candidates_is_plain_however_far_it_is_filled_up() {
        let curve = [(1, 10.0), (8, 12.0)];
        let ms = Duration::from_millis(10);
        let since_plain = |pad_to: usize, rows: u32, candidates: u32| {
            let mut p = policy(Mode::Auto, &curve, &[]).padded_to(pad_to);
            p.observe(Observation::Round {
                base: ONE,
                rows,
                candidates,
                forward: ms,
                round: ms,
                tokens: 1,
                without_drafters: 1,
            });
            p.exploration.since_plain_ms
        };
        assert_eq!(since_plain(0, 1, 0), 0.0);
        assert_eq!(since_plain(2, 2, 0), 0.0);
        assert_eq!(since_plain(0, 2, 1), 10.0);
        // The candidate took the place of padding.
        assert_eq!(since_plain(2, 2, 1), 10.0);
        // A near-tie is decided again by a forward that is wider than plain rounds are.
        assert_eq!(since_plain(0, 2, 0), 10.0);
    }
}
