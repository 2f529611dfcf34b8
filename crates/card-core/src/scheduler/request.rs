//! What is asked for.

use crate::constraint::Constraint;
use crate::sampler::{Sampling, SamplingError};
use crate::types::{SequenceId, Tenant, Token};

/// A generation to run.
pub struct Request {
    /// Name of the sequence.
    pub sequence: SequenceId,
    /// The prompt, at least one token.
    pub prompt: Vec<Token>,
    /// Whose request it is: nothing of other tenants' requests is used for it, nor of it for
    /// theirs.
    pub tenant: Tenant,
    /// How to sample.
    pub params: Sampling,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// Tokens that end the generation.
    pub stop_tokens: Vec<Token>,
    /// The text the user expects back, if any
    /// ([`Source::Prediction`](crate::types::Source::Prediction)). What goes beyond the context
    /// is left out.
    pub prediction: Vec<Token>,
    /// Report the log probability of each token, and of so many of the most probable ones.
    pub logprobs: Option<usize>,
    /// What may be written; `None` for anything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Decode plainly, whatever the mode: no source proposes anything.
    pub plain: bool,
    /// Most candidates of it that a forward verifies; `None` for what the policy chooses.
    pub most_candidates: Option<u32>,
}

/// Why a request cannot be.
///
/// ```
/// use card_core::scheduler::RequestError;
///
/// assert_eq!(RequestError::Empty.to_string(), "the prompt is empty");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// Nothing to go on from.
    #[error("the prompt is empty")]
    Empty,
    /// No room for the prompt and one token.
    #[error(
        "the prompt has {prompt} tokens, but the context holds {context}; shorten it, or raise --ctx"
    )]
    TooLong {
        /// Tokens in the prompt.
        prompt: usize,
        /// Tokens the context holds.
        context: u32,
    },
    /// A token that this vocabulary does not have.
    #[error("token {0} is not in the model's vocabulary")]
    ForeignToken(Token),
    /// A sampling setting is impossible.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The name is taken.
    #[error("sequence {} is running already", .0.0)]
    Duplicate(SequenceId),
}
