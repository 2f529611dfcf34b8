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

impl Lanes {
    /// Milliseconds that a step may take in which a drafter reads a prompt on a shared lane that
    /// several sequences use: those that decode wait for it. `row_ms` is what a step of one row
    /// takes.
    ///
    /// ```
    /// use card_core::protocol::Lanes;
    ///
    /// assert_eq!(Lanes::reading_ms(5.0), 60.0);
    /// assert_eq!(Lanes::reading_ms(50.0), 100.0, "less would read a row at a time");
    /// ```
    pub fn reading_ms(row_ms: f64) -> f64 {
        (2.0 * row_ms).max(60.0)
    }
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
    /// The drafter that says this.
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
