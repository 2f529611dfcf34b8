//! `card`: what speculation brought, where the request asks for it; `__verbose`: what the model read.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// What speculation brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct SpeculationReport {
    /// Forwards of the target that wrote something.
    pub rounds: usize,
    /// Tokens that were written.
    pub tokens: usize,
    /// Candidates that were verified.
    pub candidates: usize,
    /// Candidates that came true.
    pub accepted: usize,
    /// Tokens that a forward wrote on average; 1 is plain decoding.
    pub tokens_per_round: f64,
    /// Milliseconds of the target's forwards.
    pub forward_ms: f64,
}

/// What the model read, and how it answered, as llama-server tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct VerboseReport {
    /// The prompt as the model read it; of several the first.
    pub prompt: String,
    /// Tokens of the prompts.
    pub tokens_evaluated: usize,
    /// Tokens of all answers.
    pub tokens_predicted: usize,
    /// How the answers were sampled.
    pub generation_settings: Map<String, Value>,
}
