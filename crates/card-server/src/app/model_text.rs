//! The model's text: its vocabulary, its chat template, and the grammars of its vocabulary.

use std::sync::Arc;

use card_api::ApiError;
use card_core::types::Token;

use crate::grammar::Grammars;
use crate::text::control_names::ControlNames;
use crate::text::fill::FillMarks;
use crate::text::{Template, Tokenizer};

/// What turns a request's text into tokens and tokens into text.
pub(crate) struct ModelText {
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
    pub(crate) template: Option<Arc<dyn Template>>,
    /// Tokens that begin every text, or why the vocabulary cannot say.
    pub(crate) begin_tokens: Result<Vec<Token>, String>,
    /// Tokens that end an answer.
    pub(crate) end_tokens: Vec<Token>,
    pub(crate) control_names: ControlNames,
    /// The tokens by which the model fills in the middle of a text, if it does.
    pub(crate) fill: Option<FillMarks>,
    pub(crate) grammars: Grammars,
}

impl ModelText {
    /// The text of a model with this vocabulary and this template.
    pub(crate) fn new(tokenizer: Arc<dyn Tokenizer>, template: Option<Arc<dyn Template>>) -> Self {
        ModelText {
            begin_tokens: tokenizer.tokenize("", true),
            end_tokens: tokenizer.end_tokens(),
            control_names: ControlNames::new(tokenizer.control_texts()),
            fill: FillMarks::of(&*tokenizer),
            grammars: Grammars::new(tokenizer.clone()),
            tokenizer,
            template,
        }
    }

    /// Tokens as people see them, control tokens by their names.
    pub(crate) fn shown(&self, tokens: &[Token]) -> String {
        let bytes = tokens.iter().flat_map(|&t| self.tokenizer.piece(t, true));
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    }

    /// Whether the model has a token that a field of a request names.
    ///
    /// # Errors
    /// Names the field, if the model has not.
    pub(crate) fn check_token(&self, field: &str, token: Token) -> Result<(), ApiError> {
        if (token as usize) < self.tokenizer.len() {
            return Ok(());
        }
        let why = format!("token {token} is not in the model's vocabulary");
        Err(ApiError::field(field, why))
    }
}
