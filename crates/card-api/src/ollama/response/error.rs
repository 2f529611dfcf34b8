//! Errors in the shape that Ollama's clients expect.

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;

/// What every error says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaErrorAnswer {
    /// What went wrong; it begins with the path of the field that is wrong, if it is one.
    pub error: String,
}

impl From<&ApiError> for OllamaErrorAnswer {
    fn from(error: &ApiError) -> Self {
        let message = error.message();
        OllamaErrorAnswer {
            error: match error.param() {
                Some(param) if !message.starts_with(param) => format!("{param}: {message}"),
                _ => message.to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_named_once() {
        let message = |error: ApiError| OllamaErrorAnswer::from(&error).error;
        assert_eq!(message(ApiError::field("a.b", "wrong")), "a.b: wrong");
        assert_eq!(message(ApiError::field("a", "a: wrong")), "a: wrong");
        assert_eq!(message(ApiError::invalid("wrong")), "wrong");
    }
}
