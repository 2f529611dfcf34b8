//! Errors in the shape that Anthropic's clients expect.

use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;

/// What every error says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AnthropicErrorAnswer {
    /// `error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The error.
    pub error: ErrorDetail,
    /// Name of the request.
    pub request_id: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ErrorDetail {
    /// The kind of error, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people; it begins with the path of the field that is wrong, if it is one.
    pub message: String,
}

impl AnthropicErrorAnswer {
    /// The answer to the request of this name.
    pub fn new(error: &ApiError, request_id: Option<String>) -> Self {
        AnthropicErrorAnswer {
            kind: "error".to_owned(),
            error: ErrorDetail::from(error),
            request_id,
        }
    }
}

impl From<&ApiError> for ErrorDetail {
    fn from(error: &ApiError) -> Self {
        let message = error.message();
        ErrorDetail {
            kind: kind_of(error.status).to_owned(),
            message: match error.param() {
                Some(param) if !message.starts_with(param) => format!("{param}: {message}"),
                _ => message.to_owned(),
            },
        }
    }
}

/// The kind of error that a status means.
fn kind_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_kind() {
        let cases = [
            (ApiError::invalid("x"), "invalid_request_error"),
            (ApiError::wrong_content_type(), "invalid_request_error"),
            (ApiError::unauthorized(), "authentication_error"),
            (ApiError::foreign_origin(), "permission_error"),
            (ApiError::not_found("x"), "not_found_error"),
            (ApiError::too_large(1), "request_too_large"),
            (ApiError::busy(1), "rate_limit_error"),
            (ApiError::draining(), "overloaded_error"),
            (ApiError::timeout(1), "timeout_error"),
            (ApiError::internal("x"), "api_error"),
        ];
        for (error, kind) in cases {
            assert_eq!(ErrorDetail::from(&error).kind, kind, "{error:?}");
        }
    }

    #[test]
    fn the_field_is_named_once() {
        let message = |error: ApiError| ErrorDetail::from(&error).message;
        assert_eq!(message(ApiError::field("a.b", "wrong")), "a.b: wrong");
        assert_eq!(message(ApiError::field("a", "a: wrong")), "a: wrong");
        assert_eq!(message(ApiError::invalid("wrong")), "wrong");
    }
}
