//! Anthropic's API: `/v1/messages` and `/v1/messages/count_tokens`.
//!
//! | file | what |
//! |---|---|
//! | `messages.rs` | the handlers |
//! | `answer.rs`, `stream.rs` | a running request as Anthropic's clients follow it: whole, or as a stream |
//! | `parts.rs` | what of the model's text the client wants to see |
//! | `blocks.rs` | the blocks of an answer, and the events that they are sent by |
//! | `end.rs` | why an answer ended, and what it cost |
//! | `request_id.rs` | the header that names a request |
//! | `version.rs` | the header `anthropic-version` |
//! | `error.rs` | errors |

mod answer;
mod blocks;
mod end;
pub(super) mod error;
mod messages;
mod parts;
pub(super) mod request_id;
mod stream;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use crate::app::App;

/// The path of the API, and what paths below it begin with.
pub(super) const ROOT: &str = "/v1/messages";
/// What paths below [`ROOT`] begin with.
pub(super) const BELOW: &str = "/v1/messages/";

/// The paths at which it is spoken.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route(ROOT, post(messages::messages))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
}
