//! `/tokenize` and `/detokenize`: tokens of a text, and the text of tokens.

use card_core::types::Token;
use schemars::JsonSchema;
use serde::Serialize;

use super::prompt::MixedPrompt;
use crate::error::ApiError;
use crate::limits;
use crate::reading::bounded::Bounded;
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::TokenId;

fields! {
    /// Asks for the tokens of a text.
    struct TokenizeFields {
        /// The text, in llama.cpp's word: text, or a list of texts and tokens.
        "content" => content: MixedPrompt,
        /// The text, in vLLM's word.
        "prompt" => prompt: String,
        /// Whether texts of special tokens are read as those tokens; by default they are.
        "parse_special" => parse_special: bool,
        /// Whether the tokens that begin every text of the model are added. By default they are
        /// for `prompt`, as in vLLM, and are not for `content`, as in llama.cpp.
        "add_special" | "add_special_tokens" => add_special: bool,
        /// Tell the text of each token, too.
        "with_pieces" => with_pieces: bool,
    }

    /// Asks for the text of tokens.
    struct DetokenizeFields {
        /// Their numbers.
        #[schemars(required)]
        "tokens" => tokens: Bounded<TokenId, { limits::TOKENS }>,
    }
}

/// A text that shall become tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokenize {
    /// The text; tokens in it stay as they are.
    pub content: MixedPrompt,
    /// Whether texts of special tokens are read as those tokens.
    pub special: bool,
    /// Whether the tokens that begin every text are added.
    pub begin: bool,
    /// Whether the text of each token is wanted.
    pub pieces: bool,
}

/// Parses the body of `/tokenize`.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_tokenize(body: &[u8]) -> Result<Tokenize, ApiError> {
    let read: Read<TokenizeFields> = fields::parse(body)?;
    let fields = read.fields;
    let (content, begins) = match (fields.content, fields.prompt) {
        (Some(content), _) => (content, false),
        (None, Some(text)) => (MixedPrompt::text(text), true),
        (None, None) => return Err(ApiError::field("content", "`content` must be text")),
    };
    Ok(Tokenize {
        content,
        special: fields.parse_special.unwrap_or(true),
        begin: fields.add_special.unwrap_or(begins),
        pieces: fields.with_pieces.unwrap_or(false),
    })
}

/// Parses the body of `/detokenize`. Whether the model has these tokens, only the server knows.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_detokenize(body: &[u8]) -> Result<Vec<Token>, ApiError> {
    let read: Read<DetokenizeFields> = fields::parse(body)?;
    let why = "`tokens` must be a list of numbers of tokens";
    let tokens = read.fields.tokens;
    let tokens = tokens.ok_or_else(|| ApiError::field("tokens", why))?;
    Ok(tokens.0.into_iter().map(|token| token.0).collect())
}

/// A text in tokens.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Tokenized {
    /// Their numbers, or numbers with texts where `with_pieces` was asked for.
    pub tokens: Vec<TokenizedToken>,
    /// How many.
    pub count: usize,
    /// How many a text may have.
    pub max_model_len: u32,
}

/// A token of a text.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TokenizedToken {
    /// Its number.
    Number(u32),
    /// Its number and its text.
    WithPiece {
        /// The number.
        id: u32,
        /// The text.
        piece: TokenPiece,
    },
}

/// The text of a token.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TokenPiece {
    /// Text.
    Text(String),
    /// The bytes of a token that is no text by itself.
    Bytes(Vec<u8>),
}

/// The text of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Detokenized {
    /// The text, in llama.cpp's word.
    pub content: String,
    /// The same, in vLLM's word.
    pub prompt: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_words_for_a_text_are_known() {
        let whole = |begin| Tokenize {
            content: MixedPrompt::text("a".into()),
            special: true,
            begin,
            pieces: false,
        };
        assert_eq!(parse_tokenize(br#"{"content":"a"}"#).unwrap(), whole(false));
        assert_eq!(
            parse_tokenize(br#"{"prompt":"a","x":1}"#).unwrap(),
            whole(true)
        );
        let begun = parse_tokenize(br#"{"content":"a","add_special":true}"#);
        assert_eq!(begun.unwrap(), whole(true));
        let plain = parse_tokenize(br#"{"content":"a","parse_special":false}"#).unwrap();
        assert!(!plain.special);
        let pieces = parse_tokenize(br#"{"content":["a",1],"with_pieces":true}"#).unwrap();
        assert!(pieces.pieces && pieces.content.0.len() == 2);
        assert_eq!(parse_detokenize(br#"{"tokens":[1,2]}"#).unwrap(), [1, 2]);
    }

    #[test]
    fn errors_name_the_field_with_its_path() {
        let param = |error: ApiError| error.param().map(str::to_owned);
        let cases = [
            (parse_tokenize(b"{}").unwrap_err(), Some("content")),
            (
                parse_tokenize(br#"{"content":1}"#).unwrap_err(),
                Some("content"),
            ),
            (parse_detokenize(b"{}").unwrap_err(), Some("tokens")),
            (
                parse_detokenize(br#"{"tokens":[1,-1]}"#).unwrap_err(),
                Some("tokens[1]"),
            ),
            (parse_detokenize(b"[1]").unwrap_err(), None),
        ];
        for (error, path) in cases {
            assert_eq!(param(error).as_deref(), path);
        }
    }
}
