//! An error as an HTTP response in Anthropic's shape.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::anthropic::response::error::AnthropicErrorAnswer;

use super::request_id::{named, request_id};
use crate::protocols::told::say_when;

/// The error of the request `id` as JSON.
pub(in crate::protocols) fn body(error: &ApiError, id: &str) -> Vec<u8> {
    let answer = AnthropicErrorAnswer::new(error, Some(request_id(id)));
    // A few texts are JSON whatever is in them.
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// The response that tells the client of the request `id` about an error.
pub(super) fn response(error: &ApiError, id: &str) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (error.status, kind, body(error, id)).into_response();
    say_when(&mut response, error);
    if error.status == StatusCode::UNAUTHORIZED {
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    named(response, id)
}
