//! `card`: what speculation brought, where the request asks for it.

use schemars::JsonSchema;
use serde::Serialize;

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
