//! The paths of the server.

mod assets;
mod cors;
mod live;
mod operations;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Router, middleware};
use card_api::ApiError;

use crate::app::App;
use crate::error::ServeError;
use crate::guard::{PAGE_FILES, guard};
use crate::protocols::openai::error::OpenAiError;
use crate::protocols::{anthropic, llama_server, ollama, openai};

/// All paths.
///
/// # Errors
/// If an origin of `--cors` is none.
pub(crate) fn router(app: Arc<App>) -> Result<Router, ServeError> {
    let mut router = Router::new()
        .merge(openai::routes())
        .merge(anthropic::routes())
        .merge(llama_server::routes())
        .merge(ollama::routes(app.config.page))
        .route("/openapi.json", get(operations::openapi))
        .route("/health", get(operations::health))
        .route("/v1/health", get(operations::health))
        .route("/metrics", get(operations::metrics));
    if app.config.page {
        router = router
            .route("/", get(assets::page))
            .route(PAGE_FILES, get(assets::file))
            .route("/live", get(live::live));
    }
    let router = router
        .fallback(async || {
            OpenAiError(ApiError::not_found(
                "no such path; docs/serving.md lists them",
            ))
        })
        .method_not_allowed_fallback(async || {
            OpenAiError(ApiError::method("the path does not take this method"))
        })
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(app.clone(), guard));
    let router = match cors::layer(&app.config.cors)? {
        Some(cors) => router.layer(cors),
        None => router,
    };
    Ok(router.with_state(app))
}
