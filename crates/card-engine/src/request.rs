//! What an engine is asked to generate.

use std::sync::Arc;

use card_core::constraint::Constraint;
use card_core::sampler::SamplingParams;
use card_core::scheduler::{Request, RequestError};
use card_core::types::{SequenceId, Tenant, Token};

use crate::event::Failure;

/// What to generate.
#[derive(Default)]
pub struct Generate {
    /// Tokens of the prompt.
    pub prompt: Vec<Token>,
    /// How to sample; [`Engine::generate`](crate::Engine::generate) checks it.
    pub params: SamplingParams,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// Tokens that end the text.
    pub stop_tokens: Vec<Token>,
    /// The text the user expects back; empty for none.
    pub prediction: Arc<[Token]>,
    /// Report the log probability of each token, and of so many of the most probable tokens
    /// in its place ([`Round::logprobs`](card_core::scheduler::Round::logprobs)).
    pub logprobs: Option<usize>,
    /// What may be written; `None` for anything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// The scope of a drafter that drafts for this request, beside the drafters that draft
    /// for all (see [`Engine::attach`](crate::Engine::attach)).
    pub drafter: Option<String>,
    /// Decode it plainly, whatever the mode.
    pub plain: bool,
    /// Most candidates of it that a forward verifies; `None` for what the policy chooses.
    pub most_candidates: Option<u32>,
    /// Whose request it is: what is kept of one tenant's texts serves no other tenant.
    pub tenant: Tenant,
}

impl Generate {
    /// The scheduler's request under this name, and the scope of the request.
    ///
    /// # Errors
    /// If the sampling settings are impossible.
    pub(crate) fn named(self, sequence: SequenceId) -> Result<(Request, Option<String>), Failure> {
        let params = self.params.checked().map_err(RequestError::from)?;
        let request = Request {
            sequence,
            prompt: self.prompt,
            params,
            max_tokens: self.max_tokens,
            stop_tokens: self.stop_tokens,
            prediction: self.prediction.iter().copied().collect(),
            logprobs: self.logprobs,
            constraint: self.constraint,
            plain: self.plain,
            most_candidates: self.most_candidates,
            tenant: self.tenant,
        };
        Ok((request, self.drafter))
    }
}
