//! Tokens of a prompt in which text and tokens are mixed.

use card_api::ApiError;
use card_api::llama_server::prompt::{MixedPrompt, PromptSpan};
use card_core::types::Token;

use super::prompt::too_long;
use crate::app::App;
use crate::text::{at_least, most_bytes};

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
    check_bytes(app, field, text.len())?;
    let wrong = |why: String| ApiError::field(field, why);
    let tokens = app.text.tokenizer.tokenize(text, special).map_err(wrong)?;
    Ok(app.text.behind_begin(&tokens)?.to_vec())
}

/// The tokens of a prompt. Names of control tokens in its texts are those tokens. The tokens
/// that begin every text of the model stand before it, if it begins with text.
///
/// # Errors
/// If the model has no such tokens, a text cannot be tokenized, or the prompt is too long for the
/// context. Of a prompt that is too long no more is read than shows that.
pub(crate) fn prompt_tokens(app: &App, prompt: &MixedPrompt) -> Result<Vec<Token>, ApiError> {
    const FIELD: &str = "prompt";
    check_bytes(app, FIELD, text_bytes(prompt))?;
    let mut tokens = match prompt.0.first() {
        Some(PromptSpan::Text(_)) => app.text.begin_tokens()?.to_vec(),
        _ => Vec::new(),
    };
    for span in &prompt.0 {
        add_span(app, FIELD, span, true, &mut tokens)?;
        if tokens.len() >= app.model.context as usize {
            return Err(too_long(app, false, tokens.len()));
        }
    }
    Ok(tokens)
}

/// The tokens of what stands around a prompt, of which what does not fit is cut off later.
/// Nothing in its texts is a control token.
///
/// # Errors
/// Names the field, if the model has no such tokens, a text cannot be tokenized, or the texts are
/// too long for the context by far.
pub(crate) fn surrounding_tokens(
    app: &App,
    field: &str,
    surrounding: &MixedPrompt,
) -> Result<Vec<Token>, ApiError> {
    check_bytes(app, field, text_bytes(surrounding))?;
    let mut tokens = Vec::new();
    for span in &surrounding.0 {
        add_span(app, field, span, false, &mut tokens)?;
    }
    Ok(tokens)
}

fn add_span(
    app: &App,
    field: &str,
    span: &PromptSpan,
    special: bool,
    tokens: &mut Vec<Token>,
) -> Result<(), ApiError> {
    match span {
        PromptSpan::Text(text) => tokens.extend(text_tokens(app, field, text, special)?),
        PromptSpan::Tokens(given) => {
            for &token in given {
                app.text.check_token(field, token)?;
            }
            tokens.extend(given);
        }
    }
    Ok(())
}

/// Bytes of all texts in a prompt.
pub(crate) fn text_bytes(prompt: &MixedPrompt) -> usize {
    let texts = prompt.0.iter().map(|span| match span {
        PromptSpan::Text(text) => text.len(),
        PromptSpan::Tokens(_) => 0,
    });
    texts.sum()
}

/// Whether a text of so many bytes may fit the context.
fn check_bytes(app: &App, field: &str, bytes: usize) -> Result<(), ApiError> {
    let context = app.model.context;
    if bytes > most_bytes(context) {
        let why = format!("the text has {bytes} bytes, and the context holds {context} tokens");
        return Err(ApiError::too_long(field, why).overflowing(at_least(bytes), context));
    }
    Ok(())
}
