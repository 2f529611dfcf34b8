//! `/tokenize` and `/detokenize`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::llama_server::prompt::{MixedPrompt, PromptSpan};
use card_api::llama_server::tokenize::{TokenPiece, TokenizedToken};
use card_api::{ApiError, Tokenize, parse_detokenize, parse_tokenize};
use card_core::types::Token;
use serde::Serialize;

use crate::app::App;
use crate::caller::Caller;
use crate::protocols::openai::error::OpenAiError;
use crate::request::{Incoming, begin_tokens, small};
use crate::text::most_bytes;

/// Text that `/tokenize` takes whatever the context, in bytes.
const LARGEST_TEXT: usize = 1 << 20;
/// Text that `/detokenize` gives, in bytes.
const LARGEST_ANSWER: usize = 4 << 20;

#[derive(Serialize)]
struct TokenizeAnswer {
    count: usize,
    max_model_len: u32,
    tokens: Vec<TokenizedToken>,
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
    let asked = parse_tokenize(body)?;
    let context = app.model.context;
    let most = most_bytes(context).max(LARGEST_TEXT);
    let bytes = text_bytes(&asked.content);
    if bytes > most {
        let why = format!("the text has {bytes} bytes; at most {most} are tokenized");
        return Err(ApiError::field("content", why));
    }
    let tokens = tokens_of(app, &asked)?;
    let told = |token: Token| {
        if !asked.pieces {
            return TokenizedToken::Number(token);
        }
        let piece = match String::from_utf8(app.text.tokenizer.piece(token, true)) {
            Ok(text) => TokenPiece::Text(text),
            Err(bytes) => TokenPiece::Bytes(bytes.into_bytes()),
        };
        TokenizedToken::WithPiece { id: token, piece }
    };
    Ok(TokenizeAnswer {
        count: tokens.len(),
        max_model_len: context,
        tokens: tokens.into_iter().map(told).collect(),
    })
}

/// Bytes of all texts in a prompt.
fn text_bytes(content: &MixedPrompt) -> usize {
    let texts = content.0.iter().map(|span| match span {
        PromptSpan::Text(text) => text.len(),
        PromptSpan::Tokens(_) => 0,
    });
    texts.sum()
}

/// The tokens of the content. What begins every text stands at most before the whole.
fn tokens_of(app: &App, asked: &Tokenize) -> Result<Vec<Token>, ApiError> {
    let begin = begin_tokens(app)?;
    let mut all = match asked.content.0.first() {
        Some(PromptSpan::Text(_)) if asked.begin => begin.clone(),
        _ => Vec::new(),
    };
    for span in &asked.content.0 {
        match span {
            PromptSpan::Text(text) => {
                let tokens = app.text.tokenizer.tokenize(text, asked.special);
                let tokens = tokens.map_err(|why| ApiError::field("content", why))?;
                all.extend(tokens.strip_prefix(&begin[..]).unwrap_or(&tokens));
            }
            PromptSpan::Tokens(tokens) => {
                for &token in tokens {
                    app.text.check_token("content", token)?;
                }
                all.extend(tokens);
            }
        }
    }
    Ok(all)
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
