//! How a generation ended.

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
