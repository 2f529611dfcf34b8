//! Messages of a chat become what chat templates take: the messages of OpenAI's API.

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::limits::CALLS;
use crate::reading::bounded::{Bounded, Name};
use crate::reading::fields::fields;
use crate::reading::loose::Loose;
use crate::reading::strict::{Anything, Strict, unsupported};

fields! {
    /// A message of a chat.
    struct OllamaMessage {
        /// `system`, `user`, `assistant` or `tool`.
        #[schemars(required)]
        "role" => role: Name,
        /// What is said.
        "content" => content: String,
        /// What the model thought.
        "thinking" => thinking: String,
        /// The calls that the model made.
        "tool_calls" => tool_calls: Bounded<Strict<OllamaCall>, CALLS>,
        /// The tool that gave this, in messages of role `tool`.
        "tool_name" | "name" => tool_name: Name,
        /// The call that this answers, in messages of role `tool`.
        "tool_call_id" => tool_call_id: Name,
        /// Images are not supported.
        "images" => images: Loose,
    }

    /// A call of a tool.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct OllamaCall {
        /// Its name.
        "id" => id: Name,
        /// `function`.
        #[schemars(rename = "type")]
        "type" => kind: Anything,
        /// What is called.
        #[schemars(required)]
        "function" => function: Strict<CalledFunction>,
    }

    /// A function and its arguments.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct CalledFunction {
        /// Its name.
        #[schemars(required)]
        "name" => name: Name,
        /// Its arguments, an object.
        #[schemars(required)]
        "arguments" => arguments: Loose,
        /// Its number; without effect.
        "index" => index: Anything,
        /// What it does; without effect.
        "description" => description: Anything,
    }
}

/// What to do about images.
pub(super) const NO_IMAGES: &str = "images are not supported; send text";

impl OllamaMessage {
    /// Message number `i` as templates take it.
    ///
    /// # Errors
    /// Names the field that is wrong or not supported.
    pub(super) fn check(self, i: usize) -> Result<Value, ApiError> {
        let path = |field: &str| format!("messages[{i}].{field}");
        let role = self.role.map(|role| role.0).unwrap_or_default();
        if !["system", "user", "assistant", "tool"].contains(&role.as_str()) {
            let why = format!("{role:?} is not system, user, assistant or tool");
            return Err(ApiError::field(path("role"), why));
        }
        let images = self.images.as_ref().map(|images| &images.0);
        unsupported(&path("images"), images, NO_IMAGES)?;
        let mut message = Map::new();
        let mut set = |field: &str, value: Value| message.insert(field.to_owned(), value);
        set("role", role.into());
        set("content", self.content.unwrap_or_default().into());
        if let Some(thinking) = self.thinking.filter(|thinking| !thinking.is_empty()) {
            set("reasoning_content", thinking.into());
        }
        if let Some(name) = self.tool_name {
            set("name", name.0.into());
        }
        if let Some(id) = self.tool_call_id {
            set("tool_call_id", id.0.into());
        }
        let calls = self.tool_calls.map(|calls| calls.0).unwrap_or_default();
        let calls = calls.into_iter().enumerate();
        let calls = calls.map(|(j, call)| call.0.check(&format!("messages[{i}].tool_calls[{j}]")));
        let calls = calls.collect::<Result<Vec<Value>, ApiError>>()?;
        if !calls.is_empty() {
            set("tool_calls", calls.into());
        }
        Ok(Value::Object(message))
    }
}

impl OllamaCall {
    /// The call that stands at `path`, as templates take it.
    fn check(self, path: &str) -> Result<Value, ApiError> {
        let wrong = |field: &str, why: &str| Err(ApiError::field(format!("{path}.{field}"), why));
        let Some(Strict(function)) = self.function else {
            return wrong("function", "there must be a function");
        };
        let Some(name) = function.name else {
            return wrong("function.name", "every call needs the name of a function");
        };
        let arguments = function
            .arguments
            .map_or_else(|| json!({}), |arguments| arguments.0);
        if !arguments.is_object() {
            return wrong("function.arguments", "the arguments must be an object");
        }
        let mut call = json!({
            "type": "function",
            "function": { "name": name.0, "arguments": arguments },
        });
        if let Some(id) = self.id {
            call["id"] = id.0.into();
        }
        Ok(call)
    }
}
