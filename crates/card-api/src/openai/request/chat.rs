//! `/v1/chat/completions`: the fields that only a chat has, and its parser.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::common::Common;
use super::message::Message;
use super::tool::{CheckedFunction, Tool};
use super::tool_choice::ToolChoice;
use crate::error::ApiError;
use crate::job::{AnswerShape, GenerationJob, PromptInput};
use crate::limits;
use crate::llama_server::extras::{LlamaFields, with_llama_fields};
use crate::reading::bounded::Bounded;
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::LogprobCount;
use crate::reading::schema::together;

fields! {
    /// The fields of a chat only.
    struct Chat {
        /// The conversation.
        #[schemars(required)]
        "messages" => messages: Bounded<Message, { limits::MESSAGES }>,
        /// Report what the model thought of each token.
        "logprobs" => logprobs: bool,
        /// Report that many of the most probable tokens too; needs `logprobs`.
        "top_logprobs" => top_logprobs: LogprobCount,
        /// What the model may call.
        "tools" => tools: Bounded<Tool, { limits::TOOLS }>,
        /// Whether it has to: `none`, `auto`, `required`, or a function.
        "tool_choice" => tool_choice: ToolChoice,
    }
}

/// The body of `/v1/chat/completions`, for the OpenAPI document.
pub(crate) enum ChatRequest {}

impl JsonSchema for ChatRequest {
    fn schema_name() -> Cow<'static, str> {
        "ChatRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let schema = together::<Common, Chat>(generator, "A conversation to go on with.");
        with_llama_fields(generator, schema)
    }
}

/// Parses the body of `/v1/chat/completions`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_chat(body: &[u8]) -> Result<GenerationJob, ApiError> {
    let read: Read<((Common, Chat), LlamaFields)> = fields::parse(body)?;
    let ((common, chat), llama) = read.fields;
    let mut job = common.job(true)?;
    job.unknown = read.unknown;
    let messages = checked_messages(chat.messages.map(|m| m.0).unwrap_or_default())?;
    let wanted = chat.logprobs.unwrap_or(false);
    if chat.top_logprobs.is_some() && !wanted {
        let why = "top_logprobs needs logprobs to be true";
        return Err(ApiError::field("top_logprobs", why));
    }
    job.logprobs = wanted.then(|| chat.top_logprobs.map_or(0, |n| n.0 as usize));
    let tools = chat.tools.map(|t| t.0).unwrap_or_default();
    let mut functions = Vec::with_capacity(tools.len());
    for (i, tool) in tools.into_iter().enumerate() {
        functions.push(tool.check(i)?);
    }
    let choice = chat.tool_choice.unwrap_or_default();
    let forced = choice.forces(&functions)?;
    if !forced.is_empty() {
        job.shape = Some(call_of(forced));
        job.shape_field = "tools";
    }
    if choice.is_none() {
        functions.clear();
    }
    job.tools = !functions.is_empty();
    let tools: Value = functions.into_iter().map(CheckedFunction::value).collect();
    job.prompts = vec![PromptInput::Chat {
        messages,
        tools: job.tools.then_some(tools),
    }];
    llama.apply(&mut job)?;
    Ok(job)
}

/// The messages as chat templates take them; there is at least one.
fn checked_messages(messages: Vec<Message>) -> Result<Value, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field(
            "messages",
            "`messages` must hold a message",
        ));
    }
    let messages = messages.into_iter().enumerate();
    messages
        .map(|(i, message)| message.check(i))
        .collect::<Result<Value, ApiError>>()
}

/// The shape of a call of one of these functions. A function without a schema takes any object.
fn call_of(functions: &[CheckedFunction]) -> AnswerShape {
    let call = |f: &CheckedFunction| {
        let parameters = f.parameters.clone();
        let parameters = parameters.unwrap_or_else(|| json!({ "type": "object" }));
        (f.name.clone(), parameters)
    };
    AnswerShape::Call(functions.iter().map(call).collect())
}
