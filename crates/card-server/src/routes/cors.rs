//! Which web pages of other origins may use the server (CORS).

use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::ServeError;
use crate::guard::{LOCALHOST, is_local_origin};

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
            .map(|o| o.trim_end_matches('/'))
            .map(|o| o.parse().map_err(|_| ServeError::Origin(o.to_owned())))
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
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .allow_private_network(true)
        .expose_headers([header::RETRY_AFTER]);
    Ok(Some(layer))
}
