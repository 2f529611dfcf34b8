//! Proposals for a text that is known.

use serde::{Deserialize, Serialize};

/// What a draft model proposes at one place of a text that is known (teacher forcing: the
/// model reads the text whatever it proposes).
///
/// ```
/// use card_core::protocol::ForcedProposals;
///
/// let second = ForcedProposals {
///     rank: Some(1),
///     probabilities: vec![0.6, 0.3],
/// };
/// assert!(second.rank.is_some_and(|rank| rank < second.probabilities.len()));
/// ```
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct ForcedProposals {
    /// Which of the proposals is the text's token; `None` for none of them.
    pub rank: Option<usize>,
    /// Probabilities of the proposals, best first.
    pub probabilities: Vec<f32>,
}
