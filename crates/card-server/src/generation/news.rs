//! What becomes known of a generation while it runs.

use card_api::ApiError;

use super::end::GenerationEnd;

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
    /// Tokens that were written for it.
    pub(crate) tokens: usize,
    /// Log probabilities of the tokens, if they were asked for.
    pub(crate) logprobs: Vec<PieceLogprob>,
}

/// A token with what the model thought of it.
#[derive(Debug)]
pub(crate) struct PieceLogprob {
    /// The bytes of the token.
    pub(crate) bytes: Vec<u8>,
    /// Natural logarithm of its probability; `None` for the first token of a prompt.
    pub(crate) logprob: Option<f32>,
    /// The most probable tokens, best first.
    pub(crate) top: Vec<(Vec<u8>, f32)>,
    /// Characters before it in the text.
    pub(crate) offset: usize,
}
