//! Tokens of a prompt in which text and tokens are mixed.

use card_api::ApiError;
use card_api::llama_server::prompt::{MixedPrompt, PromptSpan};
use card_core::types::Token;

use crate::app::App;
use crate::text::{at_least, most_bytes};

/// The tokens that begin every text of the model.
///
/// # Errors
/// If the vocabulary cannot say.
pub(crate) fn begin_tokens(app: &App) -> Result<Vec<Token>, ApiError> {
    let begin = app.text.tokenizer.tokenize("", true);
    begin.map_err(ApiError::internal)
}

/// The tokens of a text, without those that begin every text. With `special`, the name of a
/// control token is that token.
///
/// # Errors
/// Names the field, if the text cannot be tokenized or is too long for the context.
pub(crate) fn text_tokens(
    app: &App,
    field: &str,
    text: &str,
    special: bool,
) -> Result<Vec<Token>, ApiError> {
    let (bytes, context) = (text.len(), app.model.context);
    if bytes > most_bytes(context) {
        let why = format!("the text has {bytes} bytes, and the context holds {context} tokens");
        return Err(ApiError::too_long(field, why).overflowing(at_least(bytes), context));
    }
    let wrong = |why: String| ApiError::field(field, why);
    let mut tokens = app.text.tokenizer.tokenize(text, special).map_err(wrong)?;
    let begin = begin_tokens(app)?;
    if tokens.starts_with(&begin) {
        tokens.drain(..begin.len());
    }
    Ok(tokens)
}

/// The tokens of a prompt. With `begin`, those that begin every text of the model stand before
/// it, if it begins with text.
///
/// # Errors
/// Names the field, if the model has no such tokens, or a text cannot be tokenized or is too
/// long for the context.
pub(crate) fn mixed_tokens(
    app: &App,
    field: &str,
    prompt: &MixedPrompt,
    begin: bool,
    special: bool,
) -> Result<Vec<Token>, ApiError> {
    let mut tokens = match prompt.0.first() {
        Some(PromptSpan::Text(_)) if begin => begin_tokens(app)?,
        _ => Vec::new(),
    };
    for span in &prompt.0 {
        match span {
            PromptSpan::Text(text) => tokens.extend(text_tokens(app, field, text, special)?),
            PromptSpan::Tokens(given) => {
                for &token in given {
                    app.text.check_token(field, token)?;
                }
                tokens.extend(given);
            }
        }
    }
    Ok(tokens)
}
