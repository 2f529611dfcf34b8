//! How a failure of the engine looks to a client.

use card_api::ApiError;
use card_core::scheduler::RequestError;
use card_engine::Failure;

/// How a failure of the engine looks to a client.
pub(super) fn refusal(failure: &Failure) -> ApiError {
    match failure {
        Failure::Request(error) => match *error {
            RequestError::TooLong { prompt, context } => {
                ApiError::too_long("prompt", error.to_string()).overflowing(prompt, context)
            }
            _ => ApiError::invalid(error.to_string()),
        },
        Failure::Constraint(why) => ApiError::schema("response_format", why),
        Failure::Stopped(why) => ApiError::engine_gone(why.as_str()),
        Failure::Target(_) | Failure::Unread(_) | Failure::Refused(_) => {
            ApiError::internal(failure.to_string())
        }
    }
}
