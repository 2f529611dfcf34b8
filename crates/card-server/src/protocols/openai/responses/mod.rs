//! `/v1/responses`: a conversation is answered by items, whole or as a stream of named events.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the handlers |
//! | `answer.rs` | a running request as it is followed: whole, or as a stream |
//! | `writer.rs` | the events and items that an answer is made of |
//! | `item.rs` | an item as it is written |

mod answer;
mod item;
mod writer;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use card_api::{ApiError, GenerationJob, ResponseEcho, parse_response_with};

use self::answer::RunningResponse;
use super::error::OpenAiError;
use crate::app::App;
use crate::caller::Caller;
use crate::request::{IncomingRequest, MOST_ECHO, begin_with, check_kept_logprobs};

/// How often a stream repeats the request: when the answer is made, when it begins, and at its end.
const ECHOES_OF_STREAM: usize = 3;

/// The paths at which it is spoken.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/responses", post(create))
        .route("/v1/responses/{id}", get(not_kept).delete(not_kept))
}

/// Answers a conversation.
async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let id = app.numbers.name();
    let owner = caller.name.clone();
    let mut incoming = IncomingRequest::new(caller, request);
    let read = {
        let owner = owner.clone();
        move |app: &App, body: &[u8]| read_response(app, &owner, body)
    };
    match begin_with(&app, &id, &mut incoming, read).await {
        Ok((running, echo)) => {
            let memory = echo.remember.then(|| (app.remembered.clone(), owner));
            let streams = running.job.stream;
            let response = RunningResponse::new(&app.model, echo, memory, running);
            if streams {
                response.stream().await
            } else {
                response.whole().await
            }
        }
        Err(error) => {
            incoming.refuse(&app, &id, &error).await;
            OpenAiError(error).into_response()
        }
    }
}

/// The job of a body, and what the answer repeats of it. The last event of a stream is the whole
/// answer, so a stream keeps its log probabilities, too.
fn read_response(
    app: &App,
    owner: &Arc<str>,
    body: &[u8],
) -> Result<(GenerationJob, ResponseEcho), ApiError> {
    let recall = |id: &str| app.remembered.recall(owner, id);
    let parsed = parse_response_with(body, &recall, &app.config.sampling.params)?;
    let instead = "ask for fewer tokens, or for fewer alternatives";
    check_kept_logprobs(app, &parsed.job, "top_logprobs", instead)?;
    check_echo(&parsed.echo, parsed.job.stream)?;
    Ok((parsed.job, parsed.echo))
}

/// Whether the answer has room for what it repeats of the request. The error names the field that
/// is largest.
///
/// # Errors
/// If it would repeat too much.
fn check_echo(echo: &ResponseEcho, streams: bool) -> Result<(), ApiError> {
    let times = if streams { ECHOES_OF_STREAM } else { 1 };
    let (mut all, mut largest) = (0, (0, ""));
    for (name, value) in &echo.fields {
        let bytes = value.to_string().len();
        all += bytes * times;
        largest = largest.max((bytes, name.as_str()));
    }
    if all <= MOST_ECHO {
        return Ok(());
    }
    let why = format!(
        "the answer would repeat the request in more than {MOST_ECHO} bytes (a stream does it \
         {ECHOES_OF_STREAM} times); send less of it"
    );
    Err(ApiError::field(largest.1, why))
}

/// No answer is kept that could be asked for later.
async fn not_kept(State(app): State<Arc<App>>, request: Request) -> OpenAiError {
    app.admission.discard(request.into_body()).await;
    let why = "this server keeps no responses, so there is none of this name; send the \
               conversation with each request";
    OpenAiError(ApiError::not_found(why))
}
