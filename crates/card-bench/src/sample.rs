//! What a contestant is asked, and what is measured of its answer.

use std::collections::BTreeMap;

use card_core::sampler::SamplingParams;
use card_core::shortfall::Shortfall;
use card_core::types::Token;

use crate::counts::TokenCounts;

/// A prompt, ready to be generated from.
#[derive(Clone, Debug)]
pub struct BenchTask {
    /// The kind of task, by which results are grouped.
    pub category: String,
    /// The user's message, for peers.
    pub text: String,
    /// The same message in the model's chat template, as tokens.
    pub prompt: Vec<Token>,
    /// The text that is expected; empty for none.
    pub prediction: Vec<Token>,
}

/// How every contestant generates.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Sampling settings.
    pub params: SamplingParams,
    /// Most tokens of an answer.
    pub max_tokens: u32,
    /// Tokens that end an answer.
    pub stop_tokens: Vec<Token>,
}

/// One generation, measured.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Milliseconds until the first token.
    pub first_ms: f64,
    /// Milliseconds from the first token to the end of the answer.
    pub decode_ms: f64,
    /// Tokens that came after the first arrival.
    pub decoded: usize,
    /// Milliseconds between the arrival of one token and the next.
    pub gaps_ms: Vec<f64>,
    /// The tokens of the answer; empty for a peer, which sends text.
    pub tokens: Vec<Token>,
    /// Rounds that decoded; those that only read a part of the prompt do not count.
    pub rounds: usize,
    /// Candidates verified.
    pub offered: usize,
    /// The tokens of the answer by who proposed them; none for a peer, which does not tell.
    pub counts: TokenCounts,
    /// Corrections that were found among the candidates.
    pub hits: usize,
    /// Corrections that were not found there.
    pub misses: usize,
    /// Most bytes that candidates took at a time.
    pub cache_bytes: usize,
    /// Milliseconds in which the target worked.
    pub target_ms: f64,
    /// Milliseconds in which the draft model worked.
    pub draft_ms: f64,
    /// Forwards of the draft model.
    pub draft_forwards: u64,
    /// Milliseconds that the engine itself took on the target's thread.
    pub overhead_ms: f64,
    /// Joules the processor's package took, where the system tells.
    pub joules: Option<f64>,
    /// Margin of each decision in logits, by index in the sequence.
    pub margins: BTreeMap<u32, f32>,
    /// (rows, milliseconds) of each target forward that decoded.
    pub forwards: Vec<(u32, f64)>,
    /// Where the time went, by why each round brought no more tokens.
    pub shortfall: Shortfall,
}

impl Sample {
    /// Milliseconds per token after the first.
    pub fn ms_per_token(&self) -> f64 {
        self.decode_ms / self.decoded.max(1) as f64
    }

    /// Milliseconds per token of the whole answer.
    pub fn answer_ms_per_token(&self) -> f64 {
        (self.first_ms + self.decode_ms) / (self.decoded + 1) as f64
    }
}
