//! Model-free sources: prompt lookup, corrections, the prediction, and the grammar.
//!
//! They propose what follows in a text that is known already, or what a grammar leaves no choice
//! of. The scheduler asks all of them once per commit, which takes microseconds. They write to the
//! same candidate cache as a draft model, and their probabilities are calibrated in the same way.
//! Whether one of their candidates is verified, the policy decides.
//!
//! | source | text | file |
//! |---|---|---|
//! | [`PromptLookup`](crate::types::Source::PromptLookup) | prompt and output of the sequence | `text_index` |
//! | [`Correction`](crate::types::Source::Correction) | what the target wrote in earlier requests | `corrections` |
//! | [`Prediction`](crate::types::Source::Prediction) | what the user expects back | `prediction` |
//! | [`Grammar`](crate::types::Source::Grammar) | what the text has to be | [`Scout`](crate::constraint::Scout) |

mod chain;
mod corrections;
mod prediction;
mod text_index;

pub use chain::{Chain, LONGEST};
pub use corrections::{Corrections, CorrectionsError};
pub use prediction::Prediction;
pub use text_index::TextIndex;
