//! `/tokenize` and `/detokenize`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::llama_server::prompt::PromptSpan;
use card_api::llama_server::tokenize::{TokenPiece, TokenizedToken};
use card_api::{ApiError, Tokenize, parse_detokenize, parse_tokenize};
use card_core::types::Token;
use serde::Serialize;

use crate::app::App;
use crate::caller::Caller;
use crate::protocols::openai::error::OpenAiError;
use crate::request::{IncomingRequest, framed, small, text_bytes};
use crate::text::most_bytes;

/// Text that `/tokenize` takes whatever the context, in bytes.
const LARGEST_TEXT: usize = 1 << 20;
/// Text that `/detokenize` gives, and `/tokenize` with the texts of tokens, in bytes.
const LARGEST_ANSWER: usize = 4 << 20;
/// What stands around the text of a token in an answer of `/tokenize`, in bytes.
const AROUND_PIECE: usize = 32;

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
    let incoming = IncomingRequest::new(caller, request);
    Ok(small(app, incoming, tokens_of_text).await?)
}

/// The text of tokens.
pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, OpenAiError> {
    let incoming = IncomingRequest::new(caller, request);
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
    let count = tokens.len();
    let tokens = if asked.pieces {
        with_pieces(app, &tokens)?
    } else {
        tokens.into_iter().map(TokenizedToken::Number).collect()
    };
    Ok(TokenizeAnswer {
        count,
        max_model_len: context,
        tokens,
    })
}

/// Tokens with their texts.
fn with_pieces(app: &App, tokens: &[Token]) -> Result<Vec<TokenizedToken>, ApiError> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for &token in tokens {
        let piece = app.text.tokenizer.piece(token, true);
        bytes += piece.len() + AROUND_PIECE;
        if bytes > LARGEST_ANSWER {
            let why = format!(
                "the tokens with their texts take more than {LARGEST_ANSWER} bytes; send less \
                 text, or leave `with_pieces` out"
            );
            return Err(ApiError::field("with_pieces", why));
        }
        let piece = match String::from_utf8(piece) {
            Ok(text) => TokenPiece::Text(text),
            Err(bytes) => TokenPiece::Bytes(bytes.into_bytes()),
        };
        all.push(TokenizedToken::WithPiece { id: token, piece });
    }
    Ok(all)
}

/// The tokens of the content. What stands around every text stands at most around the first one.
fn tokens_of(app: &App, asked: &Tokenize) -> Result<Vec<Token>, ApiError> {
    let frame = app.text.begin_tokens()?;
    let mut all = Vec::new();
    for (number, span) in asked.content.0.iter().enumerate() {
        match span {
            PromptSpan::Text(text) => {
                let tokens = app.text.tokenizer.tokenize(text, asked.special);
                let tokens = tokens.map_err(|why| ApiError::field("content", why))?;
                all.extend(framed(&tokens, frame, asked.begin && number == 0));
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
