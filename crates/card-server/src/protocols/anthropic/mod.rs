//! Anthropic's API: `/v1/messages` and `/v1/messages/count_tokens`.
//!
//! | file | what |
//! |---|---|
//! | `messages.rs` | the handlers |
//! | `answer.rs`, `stream.rs` | a running request as Anthropic's clients follow it: whole, or as a stream |
//! | `parts.rs` | what of the model's text the client wants to see |
//! | `blocks.rs` | the blocks of an answer, and the events that they are sent by |
//! | `end.rs` | why an answer ended, and what it cost |
//! | `version.rs` | the header `anthropic-version` |
//! | `error.rs` | errors |

mod answer;
mod blocks;
mod end;
pub(super) mod error;
mod messages;
mod parts;
mod stream;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::response::Response;
use axum::routing::post;

use crate::app::App;

/// The path of the API, and what paths below it begin with.
pub(super) const ROOT: &str = "/v1/messages";
/// What paths below [`ROOT`] begin with.
pub(super) const BELOW: &str = "/v1/messages/";

/// The header that names a request, for whoever reports a fault.
const REQUEST_ID: &str = "request-id";

/// The paths at which it is spoken.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route(ROOT, post(messages::messages))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
}

/// The response to the request `id`, which says so.
pub(super) fn named(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(&request_id(id)) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The name of the request `id` as clients read it.
fn request_id(id: &str) -> String {
    format!("req_{id}")
}
