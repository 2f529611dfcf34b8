//! Paths of Ollama's that are not done: each says why, and what to do.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::response::Response;
use card_api::ApiError;

use super::error;
use crate::app::App;
use crate::caller::Caller;
use crate::request::IncomingRequest;

/// Models are fetched, made or removed.
pub(super) async fn manage(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let why = "models are not managed over the network; fetch one with `card pull`, and start \
               the server with it (`card serve -m`)";
    refuse(&app, caller, request, why).await
}

async fn refuse(app: &App, caller: Caller, request: Request, why: &str) -> Response {
    let error = ApiError::invalid(why);
    let id = app.numbers.name();
    IncomingRequest::new(caller, request)
        .refuse(app, &id, &error)
        .await;
    error::response(&error)
}
