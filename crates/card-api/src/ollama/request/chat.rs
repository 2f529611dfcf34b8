//! `/api/chat`: the fields that only a chat has, and its parser.

use std::borrow::Cow;

use card_core::sampler::SamplingParams;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::common::{OllamaCommon, OllamaRequest};
use super::message::OllamaMessage;
use super::tool::OllamaTool;
use crate::error::ApiError;
use crate::job::PromptInput;
use crate::limits;
use crate::offered_tool::{OfferedTool, for_template, offer};
use crate::openai::request::continues_last;
use crate::reading::bounded::Bounded;
use crate::reading::fields::{self, fields};
use crate::reading::schema::together;
use crate::reading::strict::Strict;
use crate::sampling::ollama_defaults;

fields! {
    /// The fields of a chat only.
    struct OllamaChat {
        /// The conversation. Without a message nothing is generated.
        "messages" => messages: Bounded<Strict<OllamaMessage>, { limits::MESSAGES }>,
        /// What the model may call.
        "tools" => tools: Bounded<Strict<OllamaTool>, { limits::TOOLS }>,
    }
}

/// The body of `/api/chat`, for the OpenAPI document.
pub(crate) enum OllamaChatBody {}

impl JsonSchema for OllamaChatBody {
    fn schema_name() -> Cow<'static, str> {
        "OllamaChatRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let about = "A conversation to go on with.";
        let mut schema = together::<OllamaCommon, OllamaChat>(generator, about);
        schema.insert("additionalProperties".into(), false.into());
        schema
    }
}

/// Parses the body of `/api/chat`; what it does not say of sampling is Ollama's default.
///
/// # Errors
/// Names the field that is wrong or not supported with its path, and how.
pub fn parse_ollama_chat(body: &[u8]) -> Result<OllamaRequest, ApiError> {
    parse_ollama_chat_with(body, &ollama_defaults())
}

/// The same, where what the body does not say of sampling is in `defaults`.
///
/// # Errors
/// Names the field that is wrong or not supported with its path, and how.
pub fn parse_ollama_chat_with(
    body: &[u8],
    defaults: &SamplingParams,
) -> Result<OllamaRequest, ApiError> {
    let (common, chat) = fields::parse::<Strict<(OllamaCommon, OllamaChat)>>(body)?
        .fields
        .0;
    let mut job = common.job(true, defaults)?;
    let messages = chat.messages.map(|messages| messages.0).unwrap_or_default();
    if messages.is_empty() {
        return Ok(OllamaRequest {
            job,
            loads_only: true,
        });
    }
    let messages = messages.into_iter().enumerate();
    let messages = messages.map(|(i, message)| message.0.check(i));
    let messages = messages.collect::<Result<Value, ApiError>>()?;
    // Of two messages of the assistant's at the end none is gone on with.
    job.template.continues_last = continues_last(&messages, None, None).unwrap_or(false);
    let tools = chat.tools.map(|tools| tools.0).unwrap_or_default();
    let tools = tools.into_iter().enumerate();
    let tools = tools.map(|(i, tool)| tool.0.check(i));
    let tools = tools.collect::<Result<Vec<OfferedTool>, ApiError>>()?;
    offer(&mut job, &tools);
    let tools = for_template(tools);
    job.prompts = vec![PromptInput::Chat { messages, tools }];
    Ok(OllamaRequest {
        job,
        loads_only: false,
    })
}
