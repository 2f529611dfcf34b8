//! Errors in the shape that OpenAI's clients expect.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;

/// What every error says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ErrorAnswer {
    /// The error.
    pub error: ErrorObject,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ErrorObject {
    /// For people.
    pub message: String,
    /// The kind of error, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path of the field that is wrong, like `messages[3].content`.
    pub param: Option<String>,
    /// A finer kind, for programs.
    pub code: Option<String>,
    /// Tokens of a prompt that is too long; at least so many, where they were not all counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_prompt_tokens: Option<usize>,
    /// Tokens that the context holds, where a prompt is too long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<u32>,
}

impl From<&ApiError> for ErrorAnswer {
    fn from(error: &ApiError) -> Self {
        // llama-server's clients know it by its type, OpenAI's by its code.
        let overflow = error.overflow();
        let kind = overflow.map_or(error.kind(), |_| "exceed_context_size_error");
        ErrorAnswer {
            error: ErrorObject {
                message: error.message().to_owned(),
                kind: kind.to_owned(),
                param: error.param().map(str::to_owned),
                code: error.code().map(str::to_owned),
                n_prompt_tokens: overflow.map(|o| o.prompt),
                n_ctx: overflow.map(|o| o.context),
            },
        }
    }
}

/// An error as JSON in OpenAI's shape.
pub fn error_body(error: &ApiError) -> Value {
    // Four texts are JSON whatever is in them.
    serde_json::to_value(ErrorAnswer::from(error)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_is_longer_than_a_screen() {
        let long = "é\n".repeat(1 << 20);
        for error in [
            ApiError::invalid(&long),
            ApiError::field(&long, &long),
            ApiError::schema(&long, &long),
            ApiError::too_long("prompt", &long),
            ApiError::foreign_host(&long),
            ApiError::not_found(&long),
            ApiError::method(&long),
            ApiError::upstream(&long),
            ApiError::internal(&long),
            ApiError::engine_gone(&long),
        ] {
            let body = error_body(&error).to_string();
            assert!(body.len() < 4096, "{body}");
            assert!(!error.message().contains('\n'));
        }
    }

    #[test]
    fn the_cause_of_a_failure_is_not_told_to_the_client() {
        for error in [
            ApiError::internal("secret"),
            ApiError::engine_gone("secret"),
        ] {
            assert_eq!(error.cause(), Some("secret"));
            assert!(!error_body(&error).to_string().contains("secret"));
            assert!(error.status.is_server_error());
        }
        assert_ne!(
            ApiError::internal("a").message(),
            ApiError::internal("a").message()
        );
    }
}
