//! Tokens that a request read and wrote.

use crate::generation::{GenerationEnd, SpeculationFigures};

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenUsage {
    /// Tokens of the prompts.
    pub(crate) prompt: usize,
    /// Tokens of the prompts that earlier requests had read.
    pub(crate) cached: usize,
    /// Tokens of all answers.
    pub(crate) completion: usize,
    /// Tokens of the expected answer that came true.
    pub(crate) predicted: usize,
    /// Tokens of the expected answer that were verified and did not come true.
    pub(crate) mispredicted: usize,
    /// Whether the client may hear of `cached`.
    pub(crate) tell_cached: bool,
    /// What speculation brought to all answers.
    pub(crate) speculation: SpeculationFigures,
}

impl TokenUsage {
    /// Adds answer `index` of a request that asks for `n` answers to each prompt.
    pub(crate) fn add(&mut self, end: &GenerationEnd, index: usize, n: u32) {
        // Prompts count once, however many answers they get.
        if index.is_multiple_of(n as usize) {
            self.cached += end.reused;
        }
        self.completion += end.tokens;
        self.predicted += end.predicted;
        self.mispredicted += end.mispredicted;
        self.speculation += end.speculation;
    }
}
