//! What the policy decided, and the numbers behind it.
//!
//! Each decision returns its own numbers. The scheduler collects them in a [`DecisionTrace`]
//! from one launch to the next, and reports the trace with the round. Nothing reads a trace to
//! decide anything.

use crate::types::Source;

/// How many candidates join the next forward, and what is expected of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VerifySize {
    /// Candidates that join, counted from the one with the highest reach.
    pub size: usize,
    /// What a millisecond is worth, in tokens: the λ of the decision.
    pub rate: f64,
    /// Candidates that could have joined.
    pub ready: usize,
    /// Tokens that the forward is expected to bring.
    pub expected: f64,
    /// Milliseconds that the forward is expected to take, apart from a change of shape.
    pub forward_ms: f64,
    /// Rows that the forward is filled up to, so that it has the shape of the one before or will be
    /// repeated; 0 to leave it as it is.
    pub shape: u32,
}

/// Whether a drafter takes a step before the target's next forward.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DraftDecision {
    /// The drafter that takes the step; `None` to launch the forward.
    pub source: Option<Source>,
    /// What the best number of further steps promises; `None` if no drafter could take any.
    pub foresight: Option<Foresight>,
    /// Whether further steps were compared at all. If they were not, a trace keeps the
    /// foresight it has.
    pub(super) looked_ahead: bool,
}

/// Whether the target waits for a drafter on a lane of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WaitDecision {
    /// Wait, rather than launch the forward.
    pub wait: bool,
    /// What the best number of further steps promises; `None` if that was not computed.
    pub foresight: Option<Foresight>,
}

/// What further draft steps promise against launching the forward now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Foresight {
    /// Number of steps.
    pub steps: u32,
    /// Tokens that the steps are expected to add to the forward.
    pub tokens: f64,
    /// Milliseconds that the steps take, in drafting and in a longer forward.
    pub ms: f64,
}

/// The numbers behind one round, for people (`--explain-policy`).
///
/// ```
/// use card_core::policy::{DecisionTrace, VerifySize};
///
/// let mut trace = DecisionTrace::default();
/// trace.note_size(&VerifySize {
///     size: 3,
///     ready: 5,
///     ..VerifySize::default()
/// });
/// assert_eq!((trace.taken, trace.ready), (3, 5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DecisionTrace {
    /// Drafters on lanes of their own are gated: they take no step, because they cost more than
    /// they bring.
    pub gated: bool,
    /// What a millisecond is worth, in tokens.
    pub rate: f64,
    /// Tokens per millisecond of plain decoding, all sequences together.
    pub plain: f64,
    /// Sequences that the forward decoded.
    pub sequences: u32,
    /// Candidates that could have joined the forward.
    pub ready: usize,
    /// Candidates that joined the forward.
    pub taken: usize,
    /// Tokens that were expected of the forward.
    pub expected: f64,
    /// Milliseconds that the forward was expected to take.
    pub forward_ms: f64,
    /// Draft steps that were decided on for this forward on a shared lane.
    pub drafted: u32,
    /// What further draft steps (or waiting for them) promised at the last decision that looked
    /// ahead.
    pub foresight: Option<Foresight>,
}

impl DecisionTrace {
    /// Adds a decision between drafting and launching.
    pub fn note_draft(&mut self, decision: &DraftDecision) {
        self.drafted += u32::from(decision.source.is_some());
        if decision.looked_ahead {
            self.foresight = decision.foresight;
        }
    }

    /// Adds a decision between waiting and launching.
    pub fn note_wait(&mut self, decision: &WaitDecision) {
        if decision.foresight.is_some() {
            self.foresight = decision.foresight;
        }
    }

    /// Adds the size of the forward.
    pub fn note_size(&mut self, size: &VerifySize) {
        self.rate = size.rate;
        self.ready = size.ready;
        self.taken = size.size;
        self.expected = size.expected;
        self.forward_ms = size.forward_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_decision_that_looked_ahead_is_shown() {
        let promised = Some(Foresight {
            steps: 2,
            tokens: 1.5,
            ms: 4.0,
        });
        let mut trace = DecisionTrace::default();
        trace.note_draft(&DraftDecision {
            source: Some(Source::Draft),
            foresight: promised,
            looked_ahead: true,
        });
        assert_eq!((trace.drafted, trace.foresight), (1, promised));
        // One that did not look leaves what is there.
        trace.note_draft(&DraftDecision::default());
        trace.note_wait(&WaitDecision::default());
        assert_eq!((trace.drafted, trace.foresight), (1, promised));
        // One that looked and found no drafter does not.
        trace.note_draft(&DraftDecision {
            looked_ahead: true,
            ..DraftDecision::default()
        });
        assert_eq!((trace.drafted, trace.foresight), (1, None));
    }
}
