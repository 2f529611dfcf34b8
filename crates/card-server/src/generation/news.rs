//! What becomes known of a generation while it runs.

use card_api::ApiError;
use card_core::types::Token;

use super::end::GenerationEnd;
use super::timings::{GenerationTimings, PromptRead};

/// What happens in a generation.
#[derive(Debug)]
pub(crate) enum News {
    /// More text, with the tokens it came from.
    Piece(Piece),
    /// The generation ended.
    Done(Box<GenerationEnd>),
    /// The generation failed.
    Failed(ApiError),
}

/// Some text of an answer.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    /// The text; whole characters, nothing of a stop string.
    pub(crate) text: String,
    /// How many tokens were written for it.
    pub(crate) count: usize,
    /// Log probabilities of the tokens, if they were asked for.
    pub(crate) logprobs: Vec<PieceLogprob>,
    /// The tokens it came from, if they were asked for, each with the bytes of `text` up to its
    /// end.
    pub(crate) tokens: Vec<(Token, usize)>,
    /// How much of the prompt was read, if that was asked for; such a piece has nothing else.
    pub(crate) progress: Option<PromptRead>,
    /// Times and counts so far.
    pub(crate) timings: GenerationTimings,
}

/// A token with what the model thought of it.
#[derive(Debug)]
pub(crate) struct PieceLogprob {
    /// The token.
    pub(crate) token: Token,
    /// The bytes of the token.
    pub(crate) bytes: Vec<u8>,
    /// Natural logarithm of its probability; `None` for the first token of a prompt.
    pub(crate) logprob: Option<f32>,
    /// The most probable tokens, best first.
    pub(crate) top: Vec<(Vec<u8>, f32)>,
    /// Those tokens, in the same order.
    pub(crate) top_tokens: Vec<Token>,
    /// Characters before it in the text.
    pub(crate) offset: usize,
}
