//! Ollama's API: `/api/chat`, `/api/generate`, and what its clients ask about models.
//!
//! | file | what |
//! |---|---|
//! | `generate.rs` | the handlers of both kinds of generation |
//! | `answer.rs`, `stream.rs` | a running request as Ollama's clients follow it: whole, or line by line |
//! | `lines.rs`, `logprobs.rs` | a line of an answer |
//! | `timing.rs` | how long an answer took |
//! | `models.rs` | what is spoken, and which models there are |
//! | `embed.rs` | vectors of texts |
//! | `refused.rs` | paths that are not done, with the reason |
//! | `error.rs` | errors |

mod answer;
mod embed;
pub(super) mod error;
mod generate;
mod lines;
mod logprobs;
mod models;
mod refused;
mod stream;
mod timing;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get, post};
use card_api::ApiError;

use crate::app::App;
use crate::front::Front;
use crate::protocols::openai::error::OpenAiError;

/// What the paths of the API begin with.
pub(super) const BELOW: &str = "/api/";

/// The paths at which it is spoken with a model.
pub(crate) fn routes() -> Router<Arc<App>> {
    let router = Router::new()
        .route("/api/chat", post(generate::chat))
        .route("/api/generate", post(generate::generate))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings));
    let managed = ["pull", "push", "create", "copy", "delete"];
    managed.iter().fold(router, |router, what| {
        router.route(&format!("{BELOW}{what}"), any(refused::manage))
    })
}

/// The paths that say what is spoken and which models there are. Where the server has a page, `/`
/// is that; else there is nothing, as with llama-server, but Ollama's clients, which ask by `HEAD`
/// whether a server runs, hear that it does.
pub(crate) fn model_routes(page: bool) -> Router<Arc<Front>> {
    let router = Router::new()
        .route("/api/version", get(models::version))
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::running))
        .route("/api/show", post(models::show));
    if page {
        router
    } else {
        router.route("/", get(no_page).head(async || StatusCode::OK))
    }
}

/// There is nothing at `/`.
async fn no_page() -> OpenAiError {
    let why = "there is no page: the server was started with --no-page";
    OpenAiError(ApiError::not_found(why))
}
