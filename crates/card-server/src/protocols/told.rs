//! What a response tells, kept beside its bytes.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use card_api::ApiError;

/// The error that a response tells, as one of its extensions. Whoever knows at which path it was
/// asked can write it in the shape of the protocol that is spoken there.
#[derive(Clone)]
pub(crate) struct ToldError(pub(crate) ApiError);

/// Says in a response about an error when to ask again, if the error does.
pub(crate) fn say_when(response: &mut Response, error: &ApiError) {
    if let Some(seconds) = error.retry_after() {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}
