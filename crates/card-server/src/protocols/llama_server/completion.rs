//! `/completion`, and `/completions` without `/v1`.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use card_api::llama_server::completion::NativeRequest;
use card_api::{ApiError, GenerationJob, parse_native};
use card_core::types::Token;

use super::answer::RunningAnswer;
use super::error::NativeErrorResponse;
use super::native_job::{NativeJob, defaults, resolve};
use crate::app::App;
use crate::caller::Caller;
use crate::request::{IncomingRequest, begin_with, prompt_tokens};

/// How a route makes a job of a body.
pub(super) type ReadNative = fn(&App, &[u8]) -> Result<(GenerationJob, NativeJob), ApiError>;

/// Goes on with a text.
pub(super) async fn completion(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    answer(app, IncomingRequest::new(caller, request), read).await
}

/// Runs what a request asks for and answers it, whole or as a stream.
pub(super) async fn answer(
    app: Arc<App>,
    mut incoming: IncomingRequest,
    read: ReadNative,
) -> Response {
    let id = app.numbers.name();
    match begin_with(&app, &id, &mut incoming, read).await {
        Ok((running, job)) => {
            let streams = running.job.stream;
            let tenant = incoming.caller.tenant;
            let answer = RunningAnswer::new(&app, tenant, running, job);
            if streams {
                answer.stream().await
            } else {
                answer.whole().await
            }
        }
        Err(error) => {
            incoming.refuse(&app, &id, &error).await;
            NativeErrorResponse(error).into_response()
        }
    }
}

fn read(app: &App, body: &[u8]) -> Result<(GenerationJob, NativeJob), ApiError> {
    let request = parse_native(body, &defaults(app))?;
    let prompts = tokens_of(app, &request)?;
    resolve(app, request, prompts)
}

/// The tokens of each prompt.
fn tokens_of(app: &App, request: &NativeRequest) -> Result<Vec<Vec<Token>>, ApiError> {
    let prompts = request.prompts.iter();
    prompts.map(|prompt| prompt_tokens(app, prompt)).collect()
}
