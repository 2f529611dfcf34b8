//! Acceptance in bursts, drawn at random.
//!
//! Real drafts are right in runs: a stretch of text is easy, the next one hard. Where each place
//! is drawn by itself, as the made-up language does it, there are no such runs, and a schedule
//! looks better than it is: in a hard stretch the drafter has to begin anew again and again.

use std::sync::Arc;

use card_core::protocol::ForcedProposals;
use serde::{Deserialize, Serialize};

use crate::error::ScenarioError;
use crate::recording::{Recorded, Recording};

/// How the probability that the first proposal leaves is shared out to the second, third and
/// fourth; the rest is for tokens that are not proposed.
const REST: [f32; 3] = [0.5, 0.2, 0.1];
/// How far the first proposal's probability is from the mean of a hard stretch.
const SPREAD: f64 = 0.15;

/// Easy and hard stretches of text, which take turns.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct BurstSpec {
    /// Probability that the first proposal is right in an easy stretch.
    pub easy: f64,
    /// The same in a hard one.
    pub hard: f64,
    /// Tokens of an easy stretch, on average.
    pub easy_tokens: f64,
    /// Tokens of a hard one.
    pub hard_tokens: f64,
}

impl BurstSpec {
    /// Checks that it can be simulated: every number is within its range.
    ///
    /// # Errors
    /// Names the first setting that is not, and its range.
    pub(crate) fn check(&self) -> Result<(), ScenarioError> {
        let easy = (0.5..1.0).contains(&self.easy);
        let hard = (SPREAD + 0.05..=1.0 - SPREAD).contains(&self.hard);
        if !easy || !hard {
            return Err(ScenarioError(
                "bursts: easy must be between 0.5 and 1, hard between 0.2 and 0.85".into(),
            ));
        }
        let length = |tokens: f64| (1.0..=1000.0).contains(&tokens);
        if !length(self.easy_tokens) || !length(self.hard_tokens) {
            return Err(ScenarioError(
                "bursts: easy_tokens and hard_tokens must be between 1 and 1000".into(),
            ));
        }
        Ok(())
    }

    /// A recording of so many answers of so many tokens. What comes of each proposal is drawn by its
    /// own probability, so that drafters are calibrated.
    pub(crate) fn draw(
        &self,
        answers: usize,
        tokens: usize,
        seed: u64,
    ) -> Result<Arc<Recording>, ScenarioError> {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x6275_7273_7473);
        let answers = (0..answers).map(|_| self.answer(tokens, &mut rng));
        Recording::new(answers.collect()).map(Arc::new)
    }

    fn answer(&self, tokens: usize, rng: &mut fastrand::Rng) -> Recorded {
        let mut easy = true;
        let places = (0..tokens).map(|_| {
            let place = self.place(easy, rng);
            let mean = if easy {
                self.easy_tokens
            } else {
                self.hard_tokens
            };
            easy ^= rng.f64() < 1.0 / mean;
            place
        });
        Recorded {
            category: "bursts".into(),
            places: places.collect(),
        }
    }

    fn place(&self, easy: bool, rng: &mut fastrand::Rng) -> ForcedProposals {
        let drawn = rng.f64();
        let first = if easy {
            1.0 - 2.0 * (1.0 - self.easy) * drawn
        } else {
            self.hard + SPREAD * (2.0 * drawn - 1.0)
        };
        // No proposal is certain.
        let first = (first as f32).min(0.999);
        let rest = REST.map(|share| share * (1.0 - first));
        let probabilities: Vec<f32> = [first].into_iter().chain(rest).collect();
        let drawn = rng.f32();
        let mut sum = 0.0;
        let rank = probabilities.iter().position(|p| {
            sum += p;
            drawn < sum
        });
        ForcedProposals {
            rank,
            probabilities,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const BURSTS: BurstSpec = BurstSpec {
        easy: 0.95,
        hard: 0.45,
        easy_tokens: 5.0,
        hard_tokens: 5.0,
    };

    #[test]
    fn drafts_are_right_in_runs() {
        BURSTS.check().unwrap();
        let recording = BURSTS.draw(20, 500, 3).unwrap();
        let share = recording.agreement();
        assert!((share - 0.7).abs() < 0.03, "{share}");
        let right = |answer: usize, at: usize| recording.place(answer, at).rank == Some(0);
        let (mut both, mut first) = (0, 0);
        for answer in 0..20 {
            for at in 0..499 {
                first += usize::from(right(answer, at));
                both += usize::from(right(answer, at) && right(answer, at + 1));
            }
        }
        // Behind a right draft the next one is right more often than on average.
        let after = f64::from(both as u32) / f64::from(first as u32);
        assert!(after > share + 0.03, "{after} {share}");
        assert_eq!(BURSTS.draw(20, 500, 3).unwrap(), recording);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let wrong = [
            BurstSpec {
                easy: 1.5,
                ..BURSTS
            },
            BurstSpec {
                hard: f64::NAN,
                ..BURSTS
            },
            BurstSpec {
                easy_tokens: 0.0,
                ..BURSTS
            },
        ];
        for spec in wrong {
            assert!(spec.check().unwrap_err().to_string().contains("bursts"));
        }
    }
}
