//! An error as an HTTP response in OpenAI's shape.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::openai::response::error::ErrorAnswer;

use crate::protocols::told::{ToldError, say_when};

/// An error that answers a request.
pub(crate) struct OpenAiError(pub(crate) ApiError);

impl From<ApiError> for OpenAiError {
    fn from(error: ApiError) -> Self {
        OpenAiError(error)
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let OpenAiError(error) = self;
        let mut response = (error.status, Json(ErrorAnswer::from(&error))).into_response();
        response.extensions_mut().insert(ToldError(error.clone()));
        say_when(&mut response, &error);
        if error.status == StatusCode::UNAUTHORIZED {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_come_again_hears_when() {
        for error in [ApiError::busy(7), ApiError::draining()] {
            let response = OpenAiError(error).into_response();
            assert!(response.headers().contains_key(header::RETRY_AFTER));
        }
    }
}
