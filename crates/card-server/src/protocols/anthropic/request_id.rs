//! The header by which Anthropic's clients name a request.

use axum::http::HeaderValue;
use axum::response::Response;

/// The header that names a request, for whoever reports a fault.
const REQUEST_ID: &str = "request-id";

/// The response to the request `id`, which says so.
pub(in crate::protocols) fn named(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(&request_id(id)) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// The name of the request `id` as clients read it.
pub(super) fn request_id(id: &str) -> String {
    format!("req_{id}")
}
