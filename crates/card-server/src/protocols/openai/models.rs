//! `/v1/models`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use card_api::ApiError;
use serde_json::{Value, json};

use super::error::OpenAiError;
use crate::app::App;
use crate::clock::unix_seconds;

/// Which models there are.
pub(super) async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [entry(&app)] }))
}

/// What the model of this name is.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, OpenAiError> {
    let Path(name) = name.map_err(|e| ApiError::invalid(e.body_text()))?;
    if name == app.model.name || app.config.llama_server.aliases.contains(&name) {
        return Ok(Json(entry(&app)));
    }
    let own = &app.model.name;
    let why = format!("there is no model {name:?}, only {own:?}");
    Err(ApiError::not_found(why).into())
}

fn entry(app: &App) -> Value {
    let model = &app.model;
    let told = &app.config.llama_server;
    json!({
        "id": model.name,
        "object": "model",
        "created": unix_seconds().saturating_sub(app.levels().uptime_s as u64),
        "owned_by": "card",
        "aliases": told.aliases,
        "tags": told.tags,
        "meta": {
            "context": model.context,
            "vocabulary": app.text.tokenizer.len(),
            "note": model.note,
        },
    })
}
