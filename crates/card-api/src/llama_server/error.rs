//! Errors in the shape of llama-server's own routes.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;

/// What an error of a native route says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NativeErrorAnswer {
    /// The error.
    pub error: NativeError,
}

/// An error of a native route.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NativeError {
    /// The HTTP status.
    pub code: u16,
    /// For people.
    pub message: String,
    /// The kind of error, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path of the field that is wrong, like `messages[3].content`.
    pub param: Option<String>,
    /// Tokens of a prompt that is too long; at least so many, where they were not all counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_prompt_tokens: Option<usize>,
    /// Tokens that the context holds, where a prompt is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<u32>,
}

impl From<&ApiError> for NativeErrorAnswer {
    fn from(error: &ApiError) -> Self {
        let overflow = error.overflow();
        let (kind, message) = match overflow {
            Some(o) => (
                "exceed_context_size_error",
                format!(
                    "request ({} tokens) exceeds the available context size ({} tokens); shorten \
                     it, or start the server with a larger --ctx",
                    o.prompt, o.context
                ),
            ),
            None => (kind(error), error.message().to_owned()),
        };
        NativeErrorAnswer {
            error: NativeError {
                code: error.status.as_u16(),
                message,
                kind: kind.to_owned(),
                param: error.param().map(str::to_owned),
                n_prompt_tokens: overflow.map(|o| o.prompt),
                n_ctx: overflow.map(|o| o.context),
            },
        }
    }
}

/// llama-server's word for the kind of an error.
fn kind(error: &ApiError) -> &'static str {
    match error.status.as_u16() {
        403 => "permission_error",
        503 => "unavailable_error",
        _ => error.kind(),
    }
}

/// An error as JSON in the shape of llama-server's own routes.
pub fn native_error_body(error: &ApiError) -> Value {
    // Texts and numbers are JSON whatever they are.
    serde_json::to_value(NativeErrorAnswer::from(error)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_as_llama_server_s_clients_expect_them() {
        let body = native_error_body(&ApiError::field("n_predict", "wrong"));
        assert_eq!(body["error"]["code"], 400);
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["param"], "n_predict");
        assert!(body["error"].get("n_ctx").is_none());
        let long = ApiError::too_long("prompt", "too long").overflowing(601, 256);
        let body = native_error_body(&long);
        assert_eq!(body["error"]["type"], "exceed_context_size_error");
        assert_eq!(body["error"]["n_prompt_tokens"], 601);
        assert_eq!(body["error"]["n_ctx"], 256);
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("exceeds the available context size"),
            "{message}"
        );
        let off = native_error_body(&ApiError::not_supported("no"));
        assert_eq!(off["error"]["code"], 501);
        assert_eq!(off["error"]["type"], "not_supported_error");
        assert_eq!(
            native_error_body(&ApiError::draining())["error"]["type"],
            "unavailable_error"
        );
    }
}
