//! What llama.cpp's server has beside OpenAI's API: `/tokenize` and `/detokenize`.

mod tokenize;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;

use crate::app::App;

/// The paths at which it is spoken.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
}
