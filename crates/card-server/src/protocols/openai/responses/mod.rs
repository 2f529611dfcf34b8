//! `/v1/responses`: a conversation is answered by items, whole or as a stream of named events.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the handlers |
//! | `answer.rs` | a running request as it is followed: whole, or as a stream |
//! | `writer.rs` | the events and items that an answer is made of |
//! | `item.rs` | an item as it is written |
//! | `memory.rs` | items of earlier answers, for requests that refer to them |

mod answer;
mod item;
mod memory;
mod writer;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use card_api::{ApiError, GenerationJob, ResponseEcho, parse_response};

use self::answer::RunningResponse;
use self::memory::ItemMemory;
use super::error::OpenAiError;
use crate::app::App;
use crate::caller::Caller;
use crate::request::{Incoming, begin};

/// The paths at which it is spoken.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/responses", post(create))
        .route("/v1/responses/{id}", get(not_kept).delete(not_kept))
        .layer(Extension(Arc::new(ItemMemory::new())))
}

/// Answers a conversation.
async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(memory): Extension<Arc<ItemMemory>>,
    request: Request,
) -> Response {
    let id = app.numbers.name();
    let owner = caller.name.clone();
    let mut incoming = Incoming::new(caller, request);
    let echo: Arc<OnceLock<ResponseEcho>> = Arc::default();
    let parse = {
        let (memory, owner, echo) = (memory.clone(), owner.clone(), echo.clone());
        move |body: &[u8]| -> Result<GenerationJob, ApiError> {
            let recall = |id: &str| memory.recall(&owner, id);
            let parsed = parse_response(body, &recall)?;
            // Nobody else sets it.
            let _ = echo.set(parsed.echo);
            Ok(parsed.job)
        }
    };
    match begin(&app, &id, &mut incoming, parse).await {
        Ok(running) => {
            let Some(echo) = echo.get().cloned() else {
                let why = "a response was begun that was not parsed";
                return OpenAiError(ApiError::internal(why)).into_response();
            };
            let memory = echo.remember.then_some((memory, owner));
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

/// No answer is kept that could be asked for later.
async fn not_kept() -> OpenAiError {
    let why = "this server keeps no responses, so there is none of this name; send the \
               conversation with each request";
    OpenAiError(ApiError::not_found(why))
}
