//! `/v1/chat/completions` and `/v1/completions`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use card_api::{ApiError, GenerationJob, parse_chat_with, parse_completion_with};

use super::answer::OpenAiAnswer;
use super::error::OpenAiError;
use crate::app::App;
use crate::caller::Caller;
use crate::request::{IncomingRequest, begin};

/// Goes on with a conversation.
pub(super) async fn chat(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let defaults = app.config.sampling.params.clone();
    let parse = move |body: &[u8]| parse_chat_with(body, &defaults);
    answer(app, IncomingRequest::new(caller, request), parse).await
}

/// Goes on with a text.
pub(super) async fn completion(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let defaults = app.config.sampling.params.clone();
    let parse = move |body: &[u8]| parse_completion_with(body, &defaults);
    answer(app, IncomingRequest::new(caller, request), parse).await
}

/// Runs what a request asks for and answers it, whole or as a stream.
async fn answer(
    app: Arc<App>,
    mut incoming: IncomingRequest,
    parse: impl FnOnce(&[u8]) -> Result<GenerationJob, ApiError> + Send + 'static,
) -> Response {
    let id = app.numbers.name();
    match begin(&app, &id, &mut incoming, parse).await {
        Ok(running) => {
            let streams = running.job.stream;
            let answer = OpenAiAnswer::new(&app.model, running);
            if streams {
                answer.stream().await
            } else {
                answer.whole().await
            }
        }
        Err(error) => {
            incoming.refuse(&app, &id, &error).await;
            OpenAiError(error).into_response()
        }
    }
}
