//! Which web pages of other origins may use the server (CORS).

use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::ServeError;
use crate::guard::{LOCALHOST, is_local_origin};

/// How long a browser may go by what it was told, without asking before each request.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The layer that tells browsers so; `None` if no page may.
///
/// # Errors
/// If an origin is none.
pub(super) fn layer(origins: &[String]) -> Result<Option<CorsLayer>, ServeError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = if origins.iter().any(|o| o == "*") {
        AllowOrigin::mirror_request()
    } else {
        let local = origins.iter().any(|o| o == LOCALHOST);
        let parsed: Result<Vec<HeaderValue>, _> = origins
            .iter()
            .filter(|o| *o != LOCALHOST)
            // Browsers write an origin in small letters, and without a slash behind it.
            .map(|o| o.trim_end_matches('/').to_ascii_lowercase())
            .map(|o| o.parse().map_err(|_| ServeError::Origin(o)))
            .collect();
        let parsed = parsed?;
        AllowOrigin::predicate(move |origin: &HeaderValue, _: &Parts| {
            let here = || origin.to_str().is_ok_and(is_local_origin);
            parsed.contains(origin) || (local && here())
        })
    };
    // SDKs send headers of their own (`x-stainless-*`), other ones in each version, so a page
    // that may ask may send what it asks for. A page of the web may ask a server of the own
    // network, since the operator let its origin in.
    // Anthropic's SDK names a request that failed by a header.
    let readable = [header::RETRY_AFTER, HeaderName::from_static("request-id")];
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .allow_private_network(true)
        .expose_headers(readable)
        .max_age(MAX_AGE);
    Ok(Some(layer))
}

/// Lists the methods of a preflight's answer as llama-server does: the layer leaves out `OPTIONS`,
/// which the preflight itself is, and the spaces.
pub(super) async fn list_methods(mut response: Response) -> Response {
    let methods = header::ACCESS_CONTROL_ALLOW_METHODS;
    if let Some(listed) = response.headers_mut().get_mut(methods) {
        *listed = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
    }
    response
}
