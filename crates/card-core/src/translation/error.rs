//! Why two vocabularies, or a model and a map, do not go together.

use crate::types::Token;

/// Why there is no translation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranslationError {
    /// A vocabulary has more tokens than any model's.
    #[error("a vocabulary of more than {most} tokens cannot be translated; use another model")]
    TooManyTokens {
        /// Most tokens of a vocabulary.
        most: usize,
    },
    /// The texts of a vocabulary's tokens are longer than any model's.
    #[error(
        "token {token} makes the texts of a vocabulary too long: a token may have {most} bytes, \
         and all of them together {most_together}; use another model"
    )]
    TooLong {
        /// The first token that is too much.
        token: usize,
        /// Most bytes of one token.
        most: usize,
        /// Most bytes of all tokens together.
        most_together: usize,
    },
    /// A role was given to a token that is not there.
    #[error(
        "token {token} shall begin or end a text, but the vocabulary has {tokens} tokens; the \
         model file is damaged, or was made for another vocabulary"
    )]
    UnknownRole {
        /// The token.
        token: Token,
        /// Tokens of the vocabulary.
        tokens: usize,
    },
    /// The vocabularies have no text in common, so that nothing could be proposed.
    #[error(
        "no token of the draft model begins like a token of the target, so it can propose \
         nothing; use another draft model, or none"
    )]
    NothingInCommon,
    /// The map was made for another draft model.
    #[error(
        "the draft model has {model} logits, but its vocabulary {vocabulary} tokens; use the \
         vocabulary that belongs to the draft model"
    )]
    OtherVocabulary {
        /// Logits of the draft model.
        model: usize,
        /// Draft tokens of the map.
        vocabulary: usize,
    },
}
