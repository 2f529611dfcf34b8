//! How a generation ended.

use std::ops::AddAssign;
use std::time::Duration;

use card_core::scheduler::Round;

use super::timings::GenerationTimings;

/// How a generation ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GenerationEnd {
    /// `stop` or `length`.
    pub(crate) finish: &'static str,
    /// Tokens that were written.
    pub(crate) tokens: usize,
    /// Tokens of the prompt that an earlier generation had read.
    pub(crate) reused: usize,
    /// Tokens of the expected answer that the target wrote too.
    pub(crate) predicted: usize,
    /// Tokens of the expected answer that were verified and wrong.
    pub(crate) mispredicted: usize,
    /// What speculation brought.
    pub(crate) speculation: SpeculationFigures,
    /// What ended it.
    pub(crate) cause: EndCause,
    /// Times and counts.
    pub(crate) timings: GenerationTimings,
}

/// What ends a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndCause {
    /// A token that ends a text.
    EndToken,
    /// A text that ends the answer: its number among those of the request that are not empty.
    StopText(usize),
    /// As many tokens as were asked for.
    Limit,
    /// The context is full.
    ContextFull,
}

/// What speculation brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SpeculationFigures {
    /// Forwards of the target that wrote something.
    pub(crate) rounds: usize,
    /// Candidates that were verified.
    pub(crate) candidates: usize,
    /// Candidates that came true.
    pub(crate) accepted: usize,
    /// Time of those forwards.
    pub(crate) forward: Duration,
}

impl SpeculationFigures {
    /// The figures of one round; those of a round that only read a prompt are none.
    pub(crate) fn of(round: &Round) -> Self {
        if round.tokens.is_empty() {
            return Self::default();
        }
        SpeculationFigures {
            rounds: 1,
            candidates: round.offered,
            accepted: round.accepted.len(),
            forward: round.forward,
        }
    }
}

impl AddAssign for SpeculationFigures {
    fn add_assign(&mut self, more: Self) {
        self.rounds += more.rounds;
        self.candidates += more.candidates;
        self.accepted += more.accepted;
        self.forward += more.forward;
    }
}
