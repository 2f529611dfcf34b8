//! What a template is rendered with.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        ChatMessage {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// A conversation and all that a template may know of it.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// The messages, with whatever fields the template knows (`tool_calls`, `reasoning_content`),
    /// as OpenAI's API has them; arguments of calls are objects.
    pub messages: &'a Value,
    /// Tools that the model may call, as OpenAI's API has them.
    pub tools: Option<&'a Value>,
    /// Documents to answer from: a list of objects with `title` and `text`.
    pub documents: Option<&'a Value>,
    /// Variables of the request's own (`chat_template_kwargs`), like `enable_thinking`.
    pub kwargs: Option<&'a Map<String, Value>>,
    /// Whether the prompt ends where the assistant's next message begins.
    pub add_generation_prompt: bool,
    /// What the clock on the wall shows, in seconds from 1970-01-01 00:00:00 of the local
    /// calendar, for templates that write the date; `None` for the computer's clock.
    pub now: Option<i64>,
}

impl<'a> Conversation<'a> {
    /// Messages alone, which the assistant is to answer.
    pub fn new(messages: &'a Value) -> Self {
        Conversation {
            messages,
            tools: None,
            documents: None,
            kwargs: None,
            add_generation_prompt: true,
            now: None,
        }
    }
}

/// Names of what the model thought; the first is the one that most templates read.
const THOUGHTS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The messages as transformers hands them to templates: fields that are null are left out, and
/// what the model thought has both names that templates read.
pub(super) fn normalized(messages: &Value) -> Cow<'_, Value> {
    let changes = |message: &Map<String, Value>| {
        message.values().any(Value::is_null) || THOUGHTS.iter().any(|n| message.contains_key(*n))
    };
    let all = messages.as_array().map_or(&[][..], Vec::as_slice);
    if !all.iter().filter_map(Value::as_object).any(changes) {
        return Cow::Borrowed(messages);
    }
    let made = all.iter().map(|message| match message {
        Value::Object(fields) => Value::Object(normalized_message(fields)),
        other => other.clone(),
    });
    Cow::Owned(made.collect())
}

fn normalized_message(fields: &Map<String, Value>) -> Map<String, Value> {
    let there = |name: &&str| fields.get(*name).is_some_and(|v| !v.is_null());
    let thought = THOUGHTS.iter().find(|n| there(n)).map(|n| &fields[*n]);
    let mut made = Map::new();
    if let Some(thought) = thought {
        made.insert("thinking".into(), thought.clone());
    }
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        made.insert(name.clone(), value.clone());
    }
    if let Some(thought) = thought {
        made.insert("reasoning_content".into(), thought.clone());
    }
    made
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_are_left_out_and_thoughts_have_both_names() {
        let plain = json!([{ "role": "user", "content": "x" }, 5]);
        assert!(matches!(normalized(&plain), Cow::Borrowed(_)));
        let messages = json!([
            { "role": "assistant", "content": null, "tool_calls": [{ "id": null }] },
            { "role": "assistant", "reasoning": "r", "thinking": null },
            { "thinking": "t", "reasoning_content": "c" },
            "no message",
        ]);
        let made = normalized(&messages);
        let expected = json!([
            { "role": "assistant", "tool_calls": [{ "id": null }] },
            { "thinking": "r", "role": "assistant", "reasoning": "r", "reasoning_content": "r" },
            { "thinking": "t", "reasoning_content": "c" },
            "no message",
        ]);
        assert_eq!(made.to_string(), expected.to_string());
    }
}
