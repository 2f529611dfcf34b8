//! Paths for whoever operates the server: health, metrics, the description of the API.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use card_api::{ApiError, document};
use serde_json::{Value, json};

use crate::app::App;
use crate::clock::unix_seconds;
use crate::protocols::openai::error::OpenAiError;

/// Whether the server takes requests.
pub(super) async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let levels = app.levels();
    let dead = app.dead();
    let (status, word) = match (&dead, app.is_draining()) {
        (Some(_), _) => (StatusCode::SERVICE_UNAVAILABLE, "dead"),
        (None, true) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (None, false) => (StatusCode::OK, "ok"),
    };
    let body = json!({
        "status": word,
        // The reason may be about what somebody sent; it is in the log.
        "why": dead.map(|_| "the engine does not work any more"),
        "running": levels.running,
        "waiting": levels.waiting,
        "drafters": levels.lanes.drafters,
        "exactness": app.model.exactness,
    });
    (status, Json(body))
}

/// The OpenAPI document: this API as clients and tools read it.
pub(super) async fn openapi(State(app): State<Arc<App>>) -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    Json(document::document(&app.model.name, version))
}

/// What Prometheus reads.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, OpenAiError> {
    if !app.config.llama_server.metrics {
        let why = "This server does not support metrics endpoint. Start it without `--no-metrics`";
        return Err(ApiError::not_supported(why).into());
    }
    let levels = app.levels();
    let started = unix_seconds().saturating_sub(levels.uptime_s as u64);
    let text = app.metrics.text(&levels);
    let text = text.map_err(|e| ApiError::internal(e.to_string()))?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    // The header by which llama-server says since when it counts.
    let since = [("process-start-time-unix", started.to_string())];
    Ok((kind, since, text).into_response())
}
