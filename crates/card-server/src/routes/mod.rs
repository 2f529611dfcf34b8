//! The paths of the server. Those that need no model are answered by its front; the others are
//! passed on to the model that a request is for.

mod assets;
mod cors;
mod dispatch;
mod elsewhere;
mod live;
mod operations;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Router, middleware};

use dispatch::{dispatch, refuse_method_here};

use crate::error::ServeError;
use crate::front::Front;
use crate::guard::{PAGE_FILES, guard};
use crate::protocols::{llama_server, ollama, openai};

/// All paths.
///
/// # Errors
/// If an origin of `--cors` is none.
pub(crate) fn router(front: Arc<Front>) -> Result<Router, ServeError> {
    let mut router = Router::new()
        .merge(openai::model_routes())
        .merge(llama_server::model_routes())
        .merge(ollama::model_routes(front.config.page))
        .route("/openapi.json", get(operations::openapi))
        .route("/health", get(operations::health))
        .route("/v1/health", get(operations::health))
        .route("/v1/loads", get(operations::loads))
        .route("/metrics", get(operations::metrics));
    if front.config.page {
        router = router
            .route("/", get(assets::page))
            .route(PAGE_FILES, get(assets::file))
            .route("/live", get(live::live));
    }
    let router = router
        .fallback(dispatch)
        .method_not_allowed_fallback(refuse_method_here)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(front.clone(), guard));
    let router = match cors::layer(&front.config.cors)? {
        Some(cors) => {
            let listed = middleware::map_response(cors::list_methods);
            router.layer(cors).layer(listed)
        }
        None => router,
    };
    Ok(router.with_state(front))
}
