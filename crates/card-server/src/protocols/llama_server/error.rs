//! An error as an HTTP response in llama-server's shape.

use axum::Json;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::llama_server::error::NativeErrorAnswer;

use crate::protocols::told::say_when;

/// An error that answers a request at one of llama-server's own paths.
pub(super) struct NativeError(pub(super) ApiError);

impl From<ApiError> for NativeError {
    fn from(error: ApiError) -> Self {
        NativeError(error)
    }
}

impl IntoResponse for NativeError {
    fn into_response(self) -> Response {
        let NativeError(error) = self;
        let body = Json(NativeErrorAnswer::from(&error));
        let mut response = (error.status, body).into_response();
        say_when(&mut response, &error);
        response
    }
}
