//! Messages of a conversation, as chat templates take them: content is text, arguments of
//! calls are objects.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::limits::{CALLS, NAME_BYTES, PARTS};
use crate::reading::bounded::{Bounded, Name, room};
use crate::reading::fields::fields;
use crate::reading::loose::{self, Loose};

/// A message as it came, its content made text.
pub(crate) struct Message(Map<String, Value>);

impl Message {
    /// The message number `i` as templates take it.
    ///
    /// # Errors
    /// If it lacks what every message needs.
    pub(crate) fn check(self, i: usize) -> Result<Value, ApiError> {
        let mut fields = self.0;
        let field = |name: &str| format!("messages[{i}].{name}");
        let role = fields.get("role").and_then(Value::as_str);
        let Some(role) = role.map(str::to_owned) else {
            return Err(ApiError::field(field("role"), "every message needs a role"));
        };
        match role.as_str() {
            "developer" => {
                fields.insert("role".into(), "system".into());
            }
            "function" => {
                fields.insert("role".into(), "tool".into());
            }
            _ => {}
        }
        // A call as it was written before there were tools.
        if let Some(call) = fields.remove("function_call") {
            let call = json!({ "type": "function", "function": call });
            fields.insert("tool_calls".into(), json!([call]));
        }
        if !fields.contains_key("content") {
            if !fields.contains_key("tool_calls") && role != "assistant" {
                let why = format!("the {role} message has no content");
                return Err(ApiError::field(field("content"), why));
            }
            fields.insert("content".into(), "".into());
        }
        Ok(Value::Object(fields))
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MessageFields)
    }
}

impl JsonSchema for Message {
    fn schema_name() -> Cow<'static, str> {
        "Message".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let content = generator.subschema_for::<Option<Content>>();
        let calls = generator.subschema_for::<Option<Bounded<Loose, CALLS>>>();
        json_schema!({
            "description": "A message; it may have more fields, for the model's chat template.",
            "type": "object",
            "properties": {
                "role": { "type": "string", "maxLength": NAME_BYTES },
                "content": content,
                "tool_calls": calls,
            },
            "required": ["role"],
        })
    }
}

struct MessageFields;

impl<'de> Visitor<'de> for MessageFields {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message, which is an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Message, A::Error> {
        loose::count::<A::Error>()?;
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = match name.as_str() {
                "role" => {
                    let role: Option<Name> = map.next_value()?;
                    role.map(|r| Value::String(r.0))
                }
                "content" => {
                    let content: Option<Content> = map.next_value()?;
                    content.map(|c| Value::String(c.0))
                }
                "function_call" => {
                    let call: Option<LegacyCall> = map.next_value()?;
                    call.map(|c| c.0)
                }
                "tool_calls" => {
                    let calls: Option<Bounded<Call, CALLS>> = map.next_value()?;
                    calls.map(|c| c.0.into_iter().map(|call| call.0).collect())
                }
                _ => {
                    let other: Option<Loose> = map.next_value()?;
                    other.map(|o| o.0)
                }
            };
            // Templates take what is null for something.
            match value {
                Some(value) => fields.insert(name, value),
                None => fields.remove(&name),
            };
        }
        Ok(Message(fields))
    }
}

/// Text, or parts of type text, which become a line each.
pub(crate) struct Content(pub(crate) String);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_content(deserializer, "\n").map(Content)
    }
}

impl JsonSchema for Content {
    fn schema_name() -> Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        content_schema("Text, or parts that are text, which become a line each.")
    }
}

/// Reads text, or parts of type text, between which stands `between`.
///
/// # Errors
/// If it is something else, or there are too many parts.
pub(super) fn read_content<'de, D: Deserializer<'de>>(
    deserializer: D,
    between: &'static str,
) -> Result<String, D::Error> {
    loose::count::<D::Error>()?;
    deserializer.deserialize_any(AnyContent { between })
}

/// The schema of text, or parts of type text.
pub(super) fn content_schema(description: &str) -> Schema {
    json_schema!({
        "description": description,
        "anyOf": [
            { "type": "string" },
            {
                "type": "array",
                "maxItems": PARTS,
                "items": {
                    "type": "object",
                    "properties": {
                        "type": { "enum": ["text"] },
                        "text": { "type": "string" },
                    },
                    "required": ["type", "text"],
                },
            },
        ],
    })
}

/// Reads a content.
struct AnyContent {
    /// What stands between its parts.
    between: &'static str,
}

impl<'de> Visitor<'de> for AnyContent {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of parts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<String, E> {
        Ok(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<String, A::Error> {
        let mut all = String::new();
        let mut parts = 0;
        while let Some(TextPart(text)) = seq.next_element()? {
            room::<A::Error>(parts, PARTS)?;
            // Nothing stands before the first text. Those of a message are a line each, as
            // llama-server and vLLM put them together.
            if !all.is_empty() {
                all.push_str(self.between);
            }
            parts += 1;
            all.push_str(&text);
        }
        Ok(all)
    }
}

fields! {
    /// A part of a message's content.
    struct ContentPart {
        /// `text`.
        #[schemars(rename = "type")]
        "type" => kind: Name,
        /// The text.
        "text" => text: String,
        /// The text of a part of type `refusal`.
        "refusal" => refusal: String,
    }
}

/// The text of a part.
struct TextPart(String);

impl<'de> Deserialize<'de> for TextPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = ContentPart::deserialize(deserializer)?;
        let text = match part.kind.as_ref().map_or("text", |kind| kind.0.as_str()) {
            "text" => part.text,
            "refusal" => part.refusal,
            other => {
                return Err(D::Error::custom(format_args!(
                    "parts of type {other:?} are not supported, only text"
                )));
            }
        };
        let text = text.ok_or_else(|| D::Error::custom("a part has no text"))?;
        Ok(TextPart(text))
    }
}

/// A call of a tool that the model made before. Its arguments come as text, and templates want
/// the object.
struct Call(Value);

impl<'de> Deserialize<'de> for Call {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut call = Loose::deserialize(deserializer)?.0;
        if let Some(arguments) = call.pointer_mut("/function/arguments") {
            read_arguments(arguments).map_err(D::Error::custom)?;
        }
        Ok(Call(call))
    }
}

/// The function of a call and its arguments, as calls stood in messages before there were tools.
struct LegacyCall(Value);

impl<'de> Deserialize<'de> for LegacyCall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut call = Loose::deserialize(deserializer)?.0;
        if let Some(arguments) = call.get_mut("arguments") {
            read_arguments(arguments).map_err(D::Error::custom)?;
        }
        Ok(LegacyCall(call))
    }
}

/// Makes an object of arguments that are text. What is no JSON stays text: the model that wrote
/// it may read it again.
///
/// # Errors
/// If there are too many values in it.
pub(super) fn read_arguments(arguments: &mut Value) -> Result<(), String> {
    let Some(text) = arguments.as_str() else {
        return Ok(());
    };
    match serde_json::from_str::<Loose>(text) {
        Ok(object) => *arguments = object.0,
        Err(error) if error.is_data() => return Err(format!("its arguments: {error}")),
        Err(_) => {}
    }
    Ok(())
}
