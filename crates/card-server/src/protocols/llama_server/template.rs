//! `/apply-template` and `/chat/completions/input_tokens`: how a conversation is read.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::llama_server::response::{AppliedTemplate, InputTokens};
use card_api::{ApiError, PromptInput, TemplateOptions, parse_chat};

use super::error::NativeErrorResponse;
use crate::app::App;
use crate::caller::Caller;
use crate::request::{self, IncomingRequest, chat_text, small};

/// A conversation as the model reads it.
pub(super) async fn apply_template(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, NativeErrorResponse> {
    let incoming = IncomingRequest::new(caller, request);
    Ok(small(app, incoming, applied).await?)
}

/// How many tokens a conversation has.
pub(super) async fn count_tokens(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, NativeErrorResponse> {
    let incoming = IncomingRequest::new(caller, request);
    Ok(small(app, incoming, counted).await?)
}

fn applied(app: &App, body: &[u8]) -> Result<AppliedTemplate, ApiError> {
    let (PromptInput::Chat { messages, tools }, options) = conversation(body)? else {
        return Err(ApiError::field("messages", "there must be messages"));
    };
    let prompt = chat_text(app, &messages, tools.as_ref(), &options)?;
    Ok(AppliedTemplate { prompt })
}

fn counted(app: &App, body: &[u8]) -> Result<InputTokens, ApiError> {
    let (prompt, options) = conversation(body)?;
    Ok(InputTokens {
        input_tokens: request::count(app, &prompt, &options)?,
        object: "response.input_tokens".to_owned(),
    })
}

/// The conversation of a chat request, and how it is written down.
fn conversation(body: &[u8]) -> Result<(PromptInput, TemplateOptions), ApiError> {
    let job = parse_chat(body)?;
    let none = || ApiError::field("messages", "there must be messages");
    let prompt = job.prompts.into_iter().next().ok_or_else(none)?;
    Ok((prompt, job.template))
}
