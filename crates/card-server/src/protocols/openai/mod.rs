//! OpenAI's API: chats, completions, responses and models.
//!
//! | file | what |
//! |---|---|
//! | `completions.rs` | the handlers of both kinds of generation |
//! | `answer.rs` | a running request as OpenAI's clients follow it: whole, or as a stream |
//! | `choice.rs`, `logprobs.rs` | one of its answers |
//! | `envelope.rs`, `usage.rs` | what stands around the answers |
//! | `responses/` | `/v1/responses`, with a stream of its own |
//! | `models.rs` | which models there are |
//! | `error.rs` | errors; the rest of the server writes its errors by it, too |

mod answer;
mod choice;
mod completions;
mod envelope;
pub(crate) mod error;
mod logprobs;
mod models;
mod responses;
mod stream;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;
use crate::front::Front;

/// The paths at which it is spoken with a model.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/completions", post(completions::completion))
        .merge(responses::routes())
}

/// The paths that say which models there are; llama-server has them without `/v1`, too.
pub(crate) fn model_routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/models", get(models::models))
        .route("/v1/models", get(models::models))
        .route("/v1/models/{name}", get(models::model))
}
