//! Messages become what chat templates take: the messages of OpenAI's API. A template wants a
//! message for each result of a tool, and no two messages of a role one after the other.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::billing::without_billing_line;
use super::content::{CheckedBlock, ContentParam};
use crate::error::ApiError;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;

fields! {
    /// A message of a conversation.
    struct MessageParam {
        /// `user`, `assistant`, or `system` for an instruction in the middle.
        #[schemars(required)]
        "role" => role: Name,
        /// What is said.
        #[schemars(required)]
        "content" => content: ContentParam,
    }
}

/// A conversation as it is written down for a chat template.
#[derive(Default)]
pub(super) struct MessagesConversation {
    messages: Vec<Map<String, Value>>,
    /// The tool of each call, by the call's name.
    called: HashMap<String, String>,
}

impl MessagesConversation {
    /// The instructions before the first message, without what is no instruction.
    ///
    /// # Errors
    /// Names the block that is no text.
    pub(super) fn system(&mut self, system: ContentParam) -> Result<(), ApiError> {
        let texts = system.texts("system")?;
        let texts = texts.iter().map(|text| without_billing_line(text));
        let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
        if !texts.is_empty() {
            self.say("system", &texts.join("\n"));
        }
        Ok(())
    }

    /// Message number `i`.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub(super) fn message(&mut self, i: usize, message: MessageParam) -> Result<(), ApiError> {
        let path = format!("messages[{i}]");
        let Some(role) = message.role.map(|r| r.0) else {
            return Err(ApiError::field(
                format!("{path}.role"),
                "every message needs a role",
            ));
        };
        let Some(content) = message.content else {
            let why = format!("the {role} message has no content");
            return Err(ApiError::field(format!("{path}.content"), why));
        };
        let content_path = format!("{path}.content");
        match role.as_str() {
            "user" => self.user(content.check(&content_path)?, &content_path),
            "assistant" => self.assistant(content.check(&content_path)?, &content_path),
            "system" => {
                let texts = content.texts(&content_path)?;
                self.say("system", &texts.join("\n"));
                Ok(())
            }
            other => {
                let why = format!("{other:?} is not user, assistant or system");
                Err(ApiError::field(format!("{path}.role"), why))
            }
        }
    }

    /// The messages; there is at least one.
    ///
    /// # Errors
    /// If the model's turn has begun already.
    pub(super) fn messages(self) -> Result<Value, ApiError> {
        let last = self.messages.last().and_then(role_of);
        if last == Some("assistant") {
            let why = "the last message is the assistant's, and going on with one that has begun \
                       is not supported; end with a user message";
            return Err(ApiError::field("messages", why));
        }
        Ok(self.messages.into_iter().map(Value::Object).collect())
    }

    /// What the user says, and what tools gave.
    fn user(&mut self, blocks: Vec<CheckedBlock>, path: &str) -> Result<(), ApiError> {
        for (i, block) in blocks.into_iter().enumerate() {
            match block {
                CheckedBlock::Text(text) => self.say("user", &text),
                CheckedBlock::ToolResult { id, text } => self.result(id, text),
                _ => return Err(misplaced(path, i, "the assistant")),
            }
        }
        Ok(())
    }

    /// What the model said, thought and called.
    fn assistant(&mut self, blocks: Vec<CheckedBlock>, path: &str) -> Result<(), ApiError> {
        let (mut said, mut thought) = (Vec::new(), Vec::new());
        let mut calls = Vec::new();
        for (i, block) in blocks.into_iter().enumerate() {
            match block {
                CheckedBlock::Text(text) => said.push(text),
                CheckedBlock::Thinking(text) => thought.push(text),
                CheckedBlock::Redacted => {}
                CheckedBlock::ToolUse { id, name, input } => {
                    self.called.insert(id.clone(), name.clone());
                    calls.push(json!({
                        "id": id,
                        "type": "function",
                        "function": { "name": name, "arguments": input },
                    }));
                }
                CheckedBlock::ToolResult { .. } => return Err(misplaced(path, i, "the user")),
            }
        }
        let message = self.turn("assistant");
        append(message, "content", &said.join("\n"));
        if !thought.is_empty() {
            append(message, "reasoning_content", &thought.join("\n"));
        }
        if !calls.is_empty() {
            let all = message.entry("tool_calls").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.append(&mut calls);
            }
        }
        Ok(())
    }

    /// Text that `role` says.
    fn say(&mut self, role: &str, text: &str) {
        append(self.turn(role), "content", text);
    }

    /// What came of the call `id`.
    fn result(&mut self, id: String, text: String) {
        let mut message = begun("tool");
        if let Some(name) = self.called.get(&id) {
            message.insert("name".to_owned(), name.as_str().into());
        }
        message.insert("tool_call_id".to_owned(), id.into());
        message.insert("content".to_owned(), text.into());
        self.messages.push(message);
    }

    /// The message that is the turn of `role`: the last one, if it is of that role.
    fn turn(&mut self, role: &str) -> &mut Map<String, Value> {
        let goes_on = |last: &Map<String, Value>| role_of(last) == Some(role);
        if !self.messages.last().is_some_and(goes_on) {
            self.messages.push(begun(role));
        }
        let last = self.messages.len() - 1;
        &mut self.messages[last]
    }
}

/// A message of `role` that says nothing yet.
fn begun(role: &str) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("role".to_owned(), role.into());
    message
}

/// Whose message it is.
fn role_of(message: &Map<String, Value>) -> Option<&str> {
    message.get("role").and_then(Value::as_str)
}

/// Adds text to a field of a message, on a line of its own.
fn append(message: &mut Map<String, Value>, field: &str, text: &str) {
    match message.get_mut(field) {
        Some(Value::String(before)) => {
            if !before.is_empty() && !text.is_empty() {
                before.push('\n');
            }
            before.push_str(text);
        }
        _ => {
            message.insert(field.to_owned(), text.into());
        }
    }
}

/// Block `i` can only stand in a message of `role`.
fn misplaced(path: &str, i: usize, role: &str) -> ApiError {
    let why = format!("a block of this type can only stand in a message of {role}");
    ApiError::field(format!("{path}[{i}].type"), why)
}
