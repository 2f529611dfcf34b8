//! What a request says of the model's chat template.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::job::TemplateOptions;
use crate::limits::TEMPLATE_VARIABLES;
use crate::reading::bounded::Name;
use crate::reading::loose::Loose;

/// Variables that are the conversation's own.
const RESERVED: [&str; 4] = ["messages", "tools", "bos_token", "eos_token"];

/// Variables for the template (`chat_template_kwargs`).
pub(crate) struct TemplateVariables(Map<String, Value>);

impl<'de> Deserialize<'de> for TemplateVariables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(variables) = Loose::deserialize(deserializer)?.0 else {
            return Err(D::Error::custom("it must be an object"));
        };
        if variables.len() > TEMPLATE_VARIABLES {
            let why = format!("it has more than {TEMPLATE_VARIABLES} variables; leave some out");
            return Err(D::Error::custom(why));
        }
        let mut names = variables.keys();
        if let Some(name) = names.find(|name| RESERVED.contains(&name.as_str())) {
            let why = format!("{name:?} is set by the conversation itself; leave it out");
            return Err(D::Error::custom(why));
        }
        Ok(TemplateVariables(variables))
    }
}

impl JsonSchema for TemplateVariables {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TemplateVariables".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": true,
            "maxProperties": TEMPLATE_VARIABLES,
        })
    }
}

/// Whether the answer goes on with the last of the messages. `asked` is what the client says of
/// that, `begins` what it says of the beginning of another message. Where it says neither, an answer
/// goes on with text of the assistant's that stands at the end, as in llama-server.
///
/// # Errors
/// Names the field, if both shall be, or there is no such text.
pub(crate) fn continues_last(
    messages: &Value,
    asked: Option<bool>,
    begins: Option<bool>,
) -> Result<bool, ApiError> {
    if asked == Some(true) && begins == Some(true) {
        let why = "an answer cannot go on with a message and begin another one; leave \
                   `add_generation_prompt` or `continue_final_message` out";
        return Err(ApiError::field("continue_final_message", why));
    }
    let messages = messages.as_array().map_or(&[][..], |all| all);
    let spoken = |message: &Value| message["role"] == "assistant" && !calls(message);
    let Some((last, before)) = messages.split_last() else {
        return Ok(false);
    };
    let has_text = spoken(last) && last["content"].as_str().is_some_and(|t| !t.is_empty());
    let goes_on = asked.unwrap_or(has_text && begins.is_none());
    if !goes_on {
        return Ok(false);
    }
    if !has_text {
        let why = "the last message must be text of the assistant's, for the answer to go on with";
        return Err(ApiError::field("continue_final_message", why));
    }
    if before.last().is_some_and(spoken) {
        let why = "Cannot have 2 or more assistant messages at the end of the list.";
        return Err(ApiError::field("messages", why));
    }
    Ok(true)
}

/// Whether a message calls something.
fn calls(message: &Value) -> bool {
    let list = message["tool_calls"].as_array();
    list.is_some_and(|list| !list.is_empty()) || message["function_call"].is_object()
}

/// How the template writes a conversation down. `effort` says how much the model thinks; `none`
/// is not at all.
pub(super) fn template_options(
    variables: Option<TemplateVariables>,
    effort: Option<Name>,
    begins_answer: Option<bool>,
    continues_last: bool,
) -> TemplateOptions {
    let effort = effort.map(|word| word.0).filter(|word| !word.is_empty());
    let none = effort.as_deref() == Some("none");
    TemplateOptions {
        thinking: none.then_some(false),
        effort: effort.filter(|_| !none),
        variables: variables.map(|v| v.0).unwrap_or_default(),
        begins_answer: continues_last || begins_answer.unwrap_or(true),
        continues_last,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_goes_on_with_text_of_the_assistant_s_at_the_end() {
        let user = json!({ "role": "user", "content": "Count" });
        let text = json!({ "role": "assistant", "content": "1, 2," });
        let call = json!({ "role": "assistant", "content": "1", "tool_calls": [{}] });
        let empty = json!({ "role": "assistant", "content": "" });
        let goes_on = |messages: Value, asked, begins| {
            let said = continues_last(&messages, asked, begins);
            said.map_err(|error| error.param().map(str::to_owned))
        };
        let field = |name: &str| Err(Some(name.to_owned()));
        let asked = Some(true);
        assert_eq!(goes_on(json!([user, text]), None, None), Ok(true));
        assert_eq!(goes_on(json!([user, text]), asked, Some(false)), Ok(true));
        assert_eq!(goes_on(json!([user, text]), Some(false), None), Ok(false));
        assert_eq!(goes_on(json!([user, text]), None, Some(true)), Ok(false));
        for other in [&user, &call, &empty] {
            assert_eq!(goes_on(json!([user, other]), None, None), Ok(false));
            let refused = goes_on(json!([user, other]), asked, None);
            assert_eq!(refused, field("continue_final_message"));
        }
        let both = goes_on(json!([user, text]), asked, asked);
        assert_eq!(both, field("continue_final_message"));
        assert_eq!(
            goes_on(json!([user, text, text]), None, None),
            field("messages")
        );
    }
}
