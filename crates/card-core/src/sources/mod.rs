//! Sources that need no model: they propose what text that is at hand says next.
//!
//! All of them are looked at once per commit, in microseconds, and write to the same
//! candidate cache as a draft model. Whether a candidate of theirs is verified is the
//! policy's business: their worth is calibrated like everyone else's.

mod corrections;
mod prediction;
mod text;

pub use corrections::{Corrections, CorrectionsError};
pub use prediction::Prediction;
pub use text::TextIndex;

use crate::types::Token;

/// Longest chain one of these sources proposes at a time.
pub const LONGEST: usize = 32;

/// What a source proposes: a chain of tokens with the probability of each, given those
/// before it.
pub type Chain = Vec<(Token, f32)>;

/// What a match of `length` tokens in earlier text is worth before anything was learned: a
/// half for two tokens, 0.77 for eight, 0.9 for thirteen. A fit to answers of a small model
/// (docs/sources.md); a token that matched counts like one of the match.
fn confidence(length: usize) -> f32 {
    const SURE: f32 = 0.985;
    (1.0 / (1.0 + (0.3 - 0.19 * length as f32).exp())).min(SURE)
}
