//! An error as an HTTP response in llama-server's shape.

use axum::Json;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::llama_server::error::NativeErrorAnswer;

use crate::protocols::told::say_when;

/// An error that answers a request at one of llama-server's own paths.
pub(super) struct NativeErrorResponse(pub(super) ApiError);

impl From<ApiError> for NativeErrorResponse {
    fn from(error: ApiError) -> Self {
        NativeErrorResponse(error)
    }
}

impl IntoResponse for NativeErrorResponse {
    fn into_response(self) -> Response {
        let NativeErrorResponse(error) = self;
        let body = Json(NativeErrorAnswer::from(&error));
        let mut response = (error.status, body).into_response();
        say_when(&mut response, &error);
        response
    }
}
