//! What a drafter answers: candidates.

use std::time::Duration;

use crate::types::{Prob, Rows, SequenceId, Source, Token};

/// What a drafter proposes after one token.
///
/// ```
/// use card_core::protocol::Expansion;
/// use card_core::types::{Prob, SequenceId};
///
/// // After the committed token of index 7 and the candidate 42 behind it.
/// let expansion = Expansion {
///     sequence: SequenceId(1),
///     root: 7,
///     path: vec![42],
///     children: vec![(5, Prob::clamped(0.9)), (6, Prob::clamped(0.05))],
/// };
/// assert_eq!(expansion.children.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Expansion {
    /// The sequence.
    pub sequence: SequenceId,
    /// Index of the last committed token the drafter knew of.
    pub root: u32,
    /// Tokens from there to the expanded one.
    pub path: Vec<Token>,
    /// Proposed next tokens with the probability the draft model gives them, best first.
    pub children: Vec<(Token, Prob)>,
}

/// Expansions that came from one forward of the draft model.
#[derive(Clone, Debug)]
pub struct Drafted {
    /// Who drafted.
    pub source: Source,
    /// The expansions; none if the forward read a prompt only.
    pub expansions: Vec<Expansion>,
    /// Rows of the forward.
    pub rows: Rows,
    /// When the forward began, on the drafter's clock.
    pub started: Duration,
    /// How long the forward took.
    pub elapsed: Duration,
}
