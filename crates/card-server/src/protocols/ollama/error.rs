//! An error as an HTTP response in Ollama's shape.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::ollama::response::error::OllamaErrorAnswer;

use crate::protocols::told::say_when;

/// The error as JSON.
pub(in crate::protocols) fn body(error: &ApiError) -> Vec<u8> {
    // A text is JSON whatever is in it.
    serde_json::to_vec(&OllamaErrorAnswer::from(error)).unwrap_or_default()
}

/// The response that tells of an error.
pub(super) fn response(error: &ApiError) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (error.status, kind, body(error)).into_response();
    say_when(&mut response, error);
    response
}
