//! What to do next, by the evidence.

use super::evidence::{RoiEvidence, sound};
use super::prices::Prices;

/// The next step of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// An answer was not plain decoding's: nothing is speculated before that is explained.
    Stop,
    /// No figure can be relied on: plain decoding was disturbed, or too few prompts were asked.
    Measure,
    /// Speculation does not pay here: plain decoding goes on.
    Plain,
    /// Too little is known: the share of speculated answers stays as it is.
    Wait,
    /// A larger share of answers is speculated.
    Widen,
}

/// Answers that a stage should see.
const ENOUGH: u64 = 50;

/// The next step that follows from the evidence.
pub fn advise(evidence: &[RoiEvidence], prices: &Prices) -> Advice {
    let differs = evidence.iter().any(|e| e.exact.1 < e.exact.0);
    if differs {
        return Advice::Stop;
    }
    let relied_on = sound(evidence);
    if relied_on.is_empty() {
        return Advice::Measure;
    }
    if overall(&relied_on) < prices.break_even().max(1.0) {
        return Advice::Plain;
    }
    let measured = relied_on.iter().filter(|e| !e.estimate);
    let answers: u64 = measured.clone().map(|e| e.answers).sum();
    let checked: u64 = measured.map(|e| e.exact.0).sum();
    if answers >= ENOUGH && checked > 0 {
        Advice::Widen
    } else {
        Advice::Wait
    }
}

/// Geometric mean of the speed-ups.
pub fn overall(evidence: &[RoiEvidence]) -> f64 {
    let sum: f64 = evidence.iter().map(|e| e.speed_up().ln()).sum();
    (sum / evidence.len().max(1) as f64).exp()
}
