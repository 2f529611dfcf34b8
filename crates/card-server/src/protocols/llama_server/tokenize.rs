//! `/tokenize` and `/detokenize`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::{ApiError, Tokenize, parse_detokenize, parse_tokenize};
use card_core::types::Token;
use serde::Serialize;

use crate::app::App;
use crate::caller::Caller;
use crate::protocols::openai::error::OpenAiError;
use crate::request::{Incoming, small};
use crate::text::most_bytes;

/// Text that `/tokenize` takes whatever the context, in bytes.
const LARGEST_TEXT: usize = 1 << 20;
/// Text that `/detokenize` gives, in bytes.
const LARGEST_ANSWER: usize = 4 << 20;

#[derive(Serialize)]
struct TokenizeAnswer {
    count: usize,
    max_model_len: u32,
    tokens: Vec<Token>,
}

#[derive(Serialize)]
struct DetokenizeAnswer {
    content: String,
    prompt: String,
}

/// The tokens of a text.
pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let incoming = Incoming::new(caller, request);
    Ok(small(app, incoming, tokens_of_text).await?)
}

/// The text of tokens.
pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let incoming = Incoming::new(caller, request);
    Ok(small(app, incoming, text_of_tokens).await?)
}

fn tokens_of_text(app: &App, body: &[u8]) -> Result<TokenizeAnswer, ApiError> {
    let Tokenize { text, special } = parse_tokenize(body)?;
    let context = app.model.context;
    let most = most_bytes(context).max(LARGEST_TEXT);
    if text.len() > most {
        let why = format!(
            "the text has {} bytes; at most {most} are tokenized",
            text.len()
        );
        return Err(ApiError::field("content", why));
    }
    let tokens = app.text.tokenizer.tokenize(&text, special);
    let tokens = tokens.map_err(|why| ApiError::field("content", why))?;
    Ok(TokenizeAnswer {
        count: tokens.len(),
        max_model_len: context,
        tokens,
    })
}

fn text_of_tokens(app: &App, body: &[u8]) -> Result<DetokenizeAnswer, ApiError> {
    let mut text = Vec::new();
    for token in parse_detokenize(body)? {
        app.text.check_token("tokens", token)?;
        text.extend(app.text.tokenizer.piece(token, true));
        if text.len() > LARGEST_ANSWER {
            let why = format!("these tokens make more than {LARGEST_ANSWER} bytes of text");
            return Err(ApiError::field("tokens", why));
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(DetokenizeAnswer {
        content: text.clone(),
        prompt: text,
    })
}
