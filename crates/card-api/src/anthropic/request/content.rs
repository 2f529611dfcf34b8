//! `content`: text, or blocks of text, of calls of tools and their results, and of thoughts.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::ApiError;
use crate::limits::PARTS;
use crate::reading::bounded::{Name, room};
use crate::reading::fields::fields;
use crate::reading::loose::{self, Loose};
use crate::reading::strict::{Anything, Noted};

/// Text, or a list of blocks.
pub(crate) enum ContentParam {
    /// Text as it is.
    Text(String),
    /// Blocks, not checked yet.
    Blocks(Vec<Noted<BlockParam>>),
}

impl<'de> Deserialize<'de> for ContentParam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        loose::count::<D::Error>()?;
        deserializer.deserialize_any(TextOrBlocks)
    }
}

impl JsonSchema for ContentParam {
    fn schema_name() -> Cow<'static, str> {
        "ContentParam".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<BlockParam>();
        json_schema!({
            "description": "Text, or blocks.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": block, "maxItems": PARTS },
            ],
        })
    }
}

struct TextOrBlocks;

impl<'de> Visitor<'de> for TextOrBlocks {
    type Value = ContentParam;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a list of blocks")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ContentParam, E> {
        Ok(ContentParam::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<ContentParam, E> {
        Ok(ContentParam::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ContentParam, A::Error> {
        let mut blocks = Vec::new();
        while let Some(block) = seq.next_element()? {
            room::<A::Error>(blocks.len(), PARTS)?;
            blocks.push(block);
        }
        Ok(ContentParam::Blocks(blocks))
    }
}

fields! {
    /// A block of content. Which fields it has, its type says.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct BlockParam {
        /// `text`, `tool_use`, `tool_result`, `thinking` or `redacted_thinking`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The text of a block of type `text`.
        "text" => text: String,
        /// The name of a call, of type `tool_use`.
        "id" => id: Name,
        /// The tool that is called, of type `tool_use`.
        "name" => name: Name,
        /// The arguments of a call, of type `tool_use`.
        "input" => input: Loose,
        /// The call that a block of type `tool_result` answers.
        "tool_use_id" => tool_use_id: Name,
        /// What a tool gave, of type `tool_result`: text, or blocks of text.
        "content" => content: ContentParam,
        /// Whether the tool failed, of type `tool_result`.
        "is_error" => is_error: bool,
        /// What the model thought, of type `thinking`.
        "thinking" => thinking: String,
        /// Without effect.
        "signature" => signature: Anything,
        /// Thoughts that only their writer can read, of type `redacted_thinking`; the model does
        /// not see them.
        "data" => data: Anything,
        /// Without effect: what can be kept of a prompt is kept anyway.
        "cache_control" => cache_control: Anything,
        /// Without effect.
        "citations" => citations: Anything,
        /// Without effect.
        "caller" => caller: Anything,
        /// Of blocks that are not supported.
        "source" => source: Anything,
    }
}

/// A block that makes sense.
#[derive(Debug, PartialEq)]
pub(super) enum CheckedBlock {
    /// Text.
    Text(String),
    /// A call of a tool that the model made.
    ToolUse {
        /// Its name.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments, an object.
        input: Value,
    },
    /// What a tool gave.
    ToolResult {
        /// The name of the call.
        id: String,
        /// What came of it; where the tool failed, that stands before it.
        text: String,
    },
    /// What the model thought.
    Thinking(String),
    /// Thoughts that nobody here can read.
    Redacted,
}

impl ContentParam {
    /// The blocks. `path` is where they stand in the request.
    ///
    /// # Errors
    /// Names the block that is wrong or not supported.
    pub(super) fn check(self, path: &str) -> Result<Vec<CheckedBlock>, ApiError> {
        match self {
            ContentParam::Text(text) => Ok(vec![CheckedBlock::Text(text)]),
            ContentParam::Blocks(blocks) => {
                let blocks = blocks.into_iter().enumerate();
                blocks
                    .map(|(i, block)| check_block(block, &format!("{path}[{i}]")))
                    .collect()
            }
        }
    }

    /// The texts of content that can be nothing else.
    ///
    /// # Errors
    /// Names the block that is no text.
    pub(super) fn texts(self, path: &str) -> Result<Vec<String>, ApiError> {
        let blocks = self.check(path)?.into_iter().enumerate();
        let text = |(i, block)| match block {
            CheckedBlock::Text(text) => Ok(text),
            _ => {
                let why = "only blocks of type text can stand here";
                Err(wrong(&format!("{path}[{i}]"), "type", why))
            }
        };
        blocks.map(text).collect()
    }
}

/// The error of a field of the block at `path`.
fn wrong(path: &str, field: &str, why: &str) -> ApiError {
    ApiError::field(format!("{path}.{field}"), why)
}

/// The block at `path`, if it is of a type that is supported and has what its type needs.
fn check_block(block: Noted<BlockParam>, path: &str) -> Result<CheckedBlock, ApiError> {
    let Noted { fields, unknown } = block;
    let missing = |field: &str| wrong(path, field, &format!("a block of its type needs `{field}`"));
    let kind = fields.kind.map(|k| k.0).unwrap_or_default();
    let block = match kind.as_str() {
        "text" => CheckedBlock::Text(fields.text.ok_or_else(|| missing("text"))?),
        "tool_use" => CheckedBlock::ToolUse {
            id: fields.id.ok_or_else(|| missing("id"))?.0,
            name: fields.name.ok_or_else(|| missing("name"))?.0,
            input: match fields.input.map(|input| input.0) {
                Some(input @ Value::Object(_)) => input,
                Some(_) => return Err(wrong(path, "input", "the arguments must be an object")),
                None => return Err(missing("input")),
            },
        },
        "tool_result" => CheckedBlock::ToolResult {
            id: fields.tool_use_id.ok_or_else(|| missing("tool_use_id"))?.0,
            text: result_text(
                fields.content,
                fields.is_error.unwrap_or(false),
                &format!("{path}.content"),
            )?,
        },
        "thinking" => CheckedBlock::Thinking(fields.thinking.ok_or_else(|| missing("thinking"))?),
        "redacted_thinking" => CheckedBlock::Redacted,
        "" => return Err(wrong(path, "type", "every block needs a type")),
        other => {
            let why = format!(
                "blocks of type {other:?} are not supported, only text, tool_use, tool_result, \
                 thinking and redacted_thinking"
            );
            return Err(wrong(path, "type", &why));
        }
    };
    match unknown {
        Some(field) => Err(wrong(path, &field, "there is no such field; leave it out")),
        None => Ok(block),
    }
}

/// What a tool gave, as text. A model knows only from the text that a tool failed.
fn result_text(
    content: Option<ContentParam>,
    is_error: bool,
    path: &str,
) -> Result<String, ApiError> {
    let texts = content.map(|content| content.texts(path)).transpose()?;
    let text = texts.unwrap_or_default().join("\n");
    if is_error {
        return Ok(format!("Error: {text}"));
    }
    Ok(text)
}
