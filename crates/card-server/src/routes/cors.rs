//! Which web pages of other origins may use the server (CORS).

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::error::ServeError;
use crate::headers::DRAFTER_HEADER;

/// The layer that tells browsers so; `None` if no page may.
///
/// # Errors
/// If an origin is none.
pub(super) fn layer(origins: &[String]) -> Result<Option<CorsLayer>, ServeError> {
    if origins.is_empty() {
        return Ok(None);
    }
    let allowed = if origins.iter().any(|o| o == "*") {
        AllowOrigin::from(Any)
    } else {
        let parsed: Result<Vec<HeaderValue>, _> = origins
            .iter()
            .map(|o| o.trim_end_matches('/'))
            .map(|o| o.parse().map_err(|_| ServeError::Origin(o.to_owned())))
            .collect();
        AllowOrigin::list(parsed?)
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static(DRAFTER_HEADER),
        ]);
    Ok(Some(layer))
}
