//! What a source without a model proposes.

use crate::types::Token;

/// The longest chain that such a source proposes at a time, in tokens.
pub const LONGEST: usize = 32;

/// A chain of tokens with the probability of each, given that those before it are right.
pub type Chain = Vec<(Token, f32)>;
