//! `input` of a response: a text, or items, which become the messages of a conversation.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::super::message::read_arguments;
use crate::error::ApiError;
use crate::limits::{MESSAGES, RECALLED_BYTES};
use crate::reading::bounded::Bounded;
use crate::reading::loose::{Loose, within_budget};

/// Finds an item of an earlier answer by its id.
pub type Recall<'a> = dyn Fn(&str) -> Option<Value> + 'a;

/// What the model answers.
pub(crate) enum ResponseInput {
    /// What a user says.
    Text(String),
    /// Items of a conversation.
    Items(Vec<Value>),
}

impl<'de> Deserialize<'de> for ResponseInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrItems)
    }
}

impl JsonSchema for ResponseInput {
    fn schema_name() -> Cow<'static, str> {
        "ResponseInput".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text, or items: messages, calls of functions and what they gave, \
                            thoughts, and references to items of earlier answers.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "maxItems": MESSAGES, "items": { "type": "object" } },
            ],
        })
    }
}

struct TextOrItems;

impl<'de> Visitor<'de> for TextOrItems {
    type Value = ResponseInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of items")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ResponseInput, E> {
        Ok(ResponseInput::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<ResponseInput, E> {
        Ok(ResponseInput::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ResponseInput, A::Error> {
        let items: Bounded<Loose, MESSAGES> =
            Deserialize::deserialize(SeqAccessDeserializer::new(seq))?;
        let items = items.0.into_iter().map(|item| item.0);
        Ok(ResponseInput::Items(items.collect()))
    }
}

impl ResponseInput {
    /// The messages as templates take them: first of all the instructions.
    ///
    /// # Errors
    /// Names the item that is wrong or not supported with its path.
    pub(super) fn messages(
        self,
        instructions: Option<&str>,
        recall: &Recall<'_>,
    ) -> Result<Value, ApiError> {
        let mut talk = InputConversation {
            messages: Vec::new(),
            thought: String::new(),
            room: RECALLED_BYTES,
            recall,
        };
        if let Some(instructions) = instructions.filter(|i| !i.is_empty()) {
            talk.say("system", instructions);
        }
        let items = match self {
            ResponseInput::Text(text) => {
                talk.say("user", &text);
                Vec::new()
            }
            ResponseInput::Items(items) if items.is_empty() => {
                let why = "`input` must hold an item";
                return Err(ApiError::field("input", why));
            }
            ResponseInput::Items(items) => items,
        };
        within_budget(|| {
            let mut items = items.into_iter().enumerate();
            items.try_for_each(|(i, item)| talk.add(item, &format!("input[{i}]"), false))
        })?;
        let messages: Vec<Value> = talk.messages.into_iter().map(Value::Object).collect();
        if messages.is_empty() {
            let why = "`input` must hold something to answer";
            return Err(ApiError::field("input", why));
        }
        Ok(messages.into())
    }
}

/// A conversation as it is put together. What the system says at the beginning is one message,
/// since many templates take no more; a call belongs to the assistant's message before it.
struct InputConversation<'a> {
    messages: Vec<Map<String, Value>>,
    /// Thoughts that belong to the next message of the assistant.
    thought: String,
    /// Bytes of remembered items that may still be referred to.
    room: usize,
    recall: &'a Recall<'a>,
}

impl InputConversation<'_> {
    /// Adds an item. One that was remembered refers to no other.
    fn add(&mut self, item: Value, path: &str, remembered: bool) -> Result<(), ApiError> {
        let wrong = |field: &str, why: String| ApiError::field(format!("{path}.{field}"), why);
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let Some(fields) = item.as_object() else {
            return Err(ApiError::field(path, "an item is an object"));
        };
        let role = text("role");
        match text("type").unwrap_or(if role.is_some() { "message" } else { "" }) {
            "message" => {
                let role = role.ok_or_else(|| wrong("role", "a message needs a role".into()))?;
                let role = match role {
                    "developer" => "system",
                    "system" | "user" | "assistant" => role,
                    other => {
                        let why = format!("{other:?} is not user, assistant, system or developer");
                        return Err(wrong("role", why));
                    }
                };
                let content = content(fields.get("content"), &format!("{path}.content"))?;
                self.say(role, &content);
            }
            "function_call" => self.call(&item, path)?,
            "function_call_output" => {
                let id = text("call_id");
                let id = id.ok_or_else(|| wrong("call_id", "which call was it?".into()))?;
                let output = content(fields.get("output"), &format!("{path}.output"))?;
                let mut message = Map::new();
                message.insert("role".into(), "tool".into());
                message.insert("tool_call_id".into(), id.into());
                message.insert("content".into(), output.into());
                self.messages.push(message);
            }
            "reasoning" => self.thought.push_str(&thought(fields)),
            "item_reference" if !remembered => {
                let id = text("id");
                let id = id.ok_or_else(|| wrong("id", "which item is it?".into()))?;
                let item = self.recalled(id).map_err(|why| wrong("id", why))?;
                self.add(item, path, true)?;
            }
            other => {
                let why = format!(
                    "items of type {other:?} are not supported, only messages, function_call, \
                     function_call_output, reasoning and item_reference"
                );
                return Err(wrong("type", why));
            }
        }
        Ok(())
    }

    /// An item of an earlier answer.
    fn recalled(&mut self, id: &str) -> Result<Value, String> {
        let item = (self.recall)(id).ok_or(
            "this item is not remembered: answers are for a short while, and only where `store` \
             is not false; send the item itself (AI SDK: providerOptions.openai.store = false)",
        )?;
        let bytes = item.to_string().len();
        self.room = self.room.checked_sub(bytes).ok_or_else(|| {
            format!("the request refers to more than {RECALLED_BYTES} bytes of earlier answers")
        })?;
        Ok(item)
    }

    /// Somebody says something.
    fn say(&mut self, role: &str, content: &str) {
        let only = self.messages.len() == 1;
        if let Some(last) = self.messages.last_mut()
            && role == "system"
            && only
            && last["role"] == "system"
        {
            let before = last["content"].as_str().unwrap_or_default();
            last.insert("content".into(), format!("{before}\n\n{content}").into());
            return;
        }
        let mut message = Map::new();
        message.insert("role".into(), role.into());
        message.insert("content".into(), content.into());
        if role == "assistant" {
            self.think(&mut message);
        }
        self.messages.push(message);
    }

    /// The assistant calls a function.
    fn call(&mut self, item: &Value, path: &str) -> Result<(), ApiError> {
        let text = |name: &str| {
            let text = item.get(name).and_then(Value::as_str);
            text.ok_or_else(|| {
                let why = format!("a call needs `{name}`");
                ApiError::field(format!("{path}.{name}"), why)
            })
        };
        let (id, name) = (text("call_id")?, text("name")?);
        let mut arguments = Value::from(text("arguments")?);
        read_arguments(&mut arguments)
            .map_err(|why| ApiError::field(format!("{path}.arguments"), why))?;
        let call = json!({
            "id": id,
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        });
        let open = self
            .messages
            .last()
            .is_some_and(|m| m["role"] == "assistant");
        if !open {
            self.say("assistant", "");
        }
        if let Some(message) = self.messages.last_mut() {
            let calls = message.entry("tool_calls").or_insert_with(|| json!([]));
            if let Some(calls) = calls.as_array_mut() {
                calls.push(call);
            }
        }
        Ok(())
    }

    /// What was thought before a message belongs to it.
    fn think(&mut self, message: &mut Map<String, Value>) {
        let thought = std::mem::take(&mut self.thought);
        if !thought.is_empty() {
            message.insert("reasoning_content".into(), thought.into());
        }
    }
}

/// The text of a content: text, or parts that are text, a line each.
fn content(content: Option<&Value>, path: &str) -> Result<String, ApiError> {
    let parts = match content {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(_) => {
            return Err(ApiError::field(
                path,
                "it must be a text or a list of parts",
            ));
        }
    };
    let mut all = String::new();
    for (i, part) in parts.iter().enumerate() {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        let field = match kind {
            "input_text" | "output_text" | "text" | "summary_text" => "text",
            "refusal" => "refusal",
            other => {
                let why = format!("parts of type {other:?} are not supported, only text");
                return Err(ApiError::field(format!("{path}[{i}].type"), why));
            }
        };
        let text = part.get(field).and_then(Value::as_str);
        let why = "a part has no text";
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(text.ok_or_else(|| ApiError::field(format!("{path}[{i}].{field}"), why))?);
    }
    Ok(all)
}

/// What was thought, as far as it can be read: the thought, or its summary. What another server
/// encrypted cannot.
fn thought(item: &Map<String, Value>) -> String {
    let texts = |name: &str| -> String {
        let parts = item.get(name).and_then(Value::as_array);
        let parts = parts.into_iter().flatten();
        parts.filter_map(|p| p["text"].as_str()).collect()
    };
    let thought = texts("content");
    if thought.is_empty() {
        texts("summary")
    } else {
        thought
    }
}
