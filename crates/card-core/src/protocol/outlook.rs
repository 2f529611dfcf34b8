//! Where a drafter works, and what it could do next.

use serde::{Deserialize, Serialize};

use crate::types::{SequenceId, Source, Token};

/// Where drafter and target run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lanes {
    /// Both take turns on one device.
    Shared,
    /// Each has its own device.
    Disjoint,
}

/// What a drafter could do next.
///
/// ```
/// use card_core::protocol::Outlook;
/// use card_core::types::{SequenceId, Source};
///
/// // It would read a prompt of 30 tokens.
/// let outlook = Outlook {
///     source: Source::Draft,
///     reach: 1.0,
///     rows: 30,
///     sequence: SequenceId(1),
///     path: Vec::new(),
/// };
/// assert!(outlook.path.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Who.
    pub source: Source,
    /// Probability that the target reaches the best node the drafter has not looked past.
    pub reach: f32,
    /// Rows of the drafter's next forward.
    pub rows: u32,
    /// The sequence of that node.
    pub sequence: SequenceId,
    /// Tokens from the last committed one to the node; empty for the committed one itself.
    pub path: Vec<Token>,
}
