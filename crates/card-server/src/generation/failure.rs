//! How a failure of the engine looks to a client.

use card_api::ApiError;
use card_core::scheduler::RequestError;
use card_engine::Failure;

/// How a failure of the engine looks to a client, whose request says in `shape_field` what the text
/// has to be.
pub(super) fn refusal(failure: &Failure, shape_field: &str) -> ApiError {
    match failure {
        Failure::Request(error) => match *error {
            RequestError::TooLong { prompt, context } => {
                ApiError::too_long("prompt", error.to_string()).overflowing(prompt, context)
            }
            _ => ApiError::invalid(error.to_string()),
        },
        Failure::Constraint(why) => ApiError::schema(shape_field, why),
        Failure::Stopped(why) => ApiError::engine_gone(why.as_str()),
        Failure::Target(_) | Failure::Unread(_) | Failure::Refused(_) => {
            ApiError::internal(failure.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grammar_that_cannot_go_on_names_the_field_that_it_came_in() {
        let failure = Failure::Constraint("too much".to_owned());
        for field in ["grammar", "response_format"] {
            let refused = refusal(&failure, field);
            assert_eq!(
                (refused.status.as_u16(), refused.param()),
                (400, Some(field))
            );
        }
    }
}
