//! Sources that need no model: they propose what text that is at hand says next.
//!
//! All of them are looked at once per commit, in microseconds, and write to the same
//! candidate cache as a draft model. Whether a candidate of theirs is verified is the
//! policy's business: their worth is calibrated like everyone else's.

mod corrections;
mod text;

pub use corrections::{Corrections, CorrectionsError};
pub use text::TextIndex;

use crate::types::Token;

/// Longest chain one of these sources proposes at a time.
pub const LONGEST: usize = 32;

/// What a source proposes: a chain of tokens with the probability of each, given those
/// before it.
pub type Chain = Vec<(Token, f32)>;

/// What a match of `length` tokens is worth before anything was learned: the longer the
/// match, the surer its continuation.
fn confidence(length: usize) -> f32 {
    let l = length as f32;
    l / (l + 2.0)
}
