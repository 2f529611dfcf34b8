//! What the server asks of a model's text: tokens of a text, text of tokens, and how
//! a conversation is written down. A trait each, so that the server runs without a model
//! ([`crate::testing`]).

pub(crate) mod control_names;
mod embedder;
#[cfg(test)]
mod families;
pub(crate) mod fill;
mod name_ends;
mod replacements;

use card_api::TemplateOptions;
use card_core::types::Token;
use serde_json::Value;

pub use embedder::{Embedder, VectorKind};

/// Text to tokens and back.
pub trait Tokenizer: Send + Sync {
    /// Number of tokens; a token is a number below it.
    fn len(&self) -> usize;

    /// Whether there is no token.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of a text. With `special`, the name of a control token (`<|im_end|>`) is that
    /// token; without, it is text like any other.
    ///
    /// # Errors
    /// Says why the text cannot be tokenized, for the client.
    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String>;

    /// The bytes a token stands for; they need not be whole characters. None for a number
    /// that is no token.
    fn piece(&self, token: Token, special: bool) -> Vec<u8>;

    /// Tokens that end an answer.
    fn end_tokens(&self) -> Vec<Token>;

    /// Names of the control tokens.
    fn control_texts(&self) -> Vec<String>;

    /// Differs where tokens mean something else.
    fn fingerprint(&self) -> u64;
}

/// How a conversation is written down for a model.
pub trait Template: Send + Sync {
    /// The prompt for the next message. `messages` and `tools` are as in OpenAI's API. Of the
    /// options a template leaves out what it has no place for.
    ///
    /// # Errors
    /// What the template has against the conversation, for the client.
    fn render(
        &self,
        messages: &Value,
        tools: Option<&Value>,
        options: &TemplateOptions,
    ) -> Result<String, String>;

    /// Whether it has a place for tools.
    fn knows_tools(&self) -> bool;

    /// Whether it has a switch for thinking ([`TemplateOptions::thinking`]).
    fn switches_thinking(&self) -> bool {
        false
    }

    /// The template itself, if it is known.
    fn source(&self) -> Option<String> {
        None
    }

    /// The template itself, and the one that conversations with tools take where that is another.
    fn all_sources(&self) -> Option<String> {
        self.source()
    }
}

/// Tokens without those that begin every text of the model, where these stand before them.
pub(crate) fn behind_begin<'a>(tokens: &'a [Token], begin: &[Token]) -> &'a [Token] {
    tokens.strip_prefix(begin).unwrap_or(tokens)
}

/// Bytes that a token stands for at most, in text that people write. As a rule it is four.
const BYTES_PER_TOKEN: usize = 32;

/// Tokens that a text of so many bytes has at least, if people wrote it.
pub(crate) fn at_least(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// Longest text, in bytes, of which a part of `tokens` tokens is still looked for.
pub(crate) fn most_bytes(tokens: u32) -> usize {
    const AT_LEAST: usize = 4096;
    (tokens as usize)
        .saturating_mul(BYTES_PER_TOKEN)
        .max(AT_LEAST)
}
