//! `/v1/responses`: its fields, and its parser.
//!
//! A response is a chat in other words: `instructions` and `input` become the messages of a
//! conversation ([`input`]), its flat tools those of a chat ([`tools`]).

mod input;
mod tools;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use self::input::{Recall, ResponseInput};
use self::tools::{ResponseTools, answered_choice};
use super::chat::Calling;
use super::common::Common;
use super::others::{OfResponse, UNREAD};
use super::reasoning::{ChatReasoning, ChatThinking, ThoughtFields};
use super::response_format::{FormatPaths, ResponseFormat};
use super::template::{TemplateVariables, template_options};
use super::tool_choice::ToolChoice;
use crate::error::ApiError;
use crate::job::{CallForm, GenerationJob, PromptInput};
use crate::limits;
use crate::reading::bounded::{Bounded, Name};
use crate::reading::fields::{self, Read, fields};
use crate::reading::loose::Loose;
use crate::reading::number::{Int, LogprobCount, MaxTokens};
use crate::reading::refused::Others;
use crate::reading::schema::{described, together};
use crate::sampling::openai_defaults;
use card_core::sampler::SamplingParams;

fields! {
    /// The fields of a response only.
    struct Response {
        /// What the model answers: a text, or the items of a conversation.
        #[schemars(required)]
        "input" => input: ResponseInput,
        /// What the model is told before everything else.
        "instructions" => instructions: String,
        /// What the model may call: functions, and namespaces of functions. `web_search` is left
        /// out where nothing forces it; other types are refused.
        "tools" => tools: Bounded<Loose, { limits::TOOLS }>,
        /// Whether it has to: `none`, `auto`, `required`, or a function.
        "tool_choice" => tool_choice: ToolChoice,
        /// Whether an answer may have several calls; it may where nothing is said.
        "parallel_tool_calls" => parallel_tool_calls: bool,
        /// What the text has to be.
        "text" => text: TextOptions,
        /// Most tokens to write; -1 for what fits.
        "max_output_tokens" => max_output_tokens: MaxTokens,
        /// What the answer repeats for the client.
        "metadata" => metadata: Loose,
        /// With false nothing of the answer is remembered; else its items are for a while, so
        /// that a later request may refer to them (`item_reference`).
        "store" => store: bool,
        /// `auto` or `disabled`: a conversation that does not fit is refused either way.
        "truncation" => truncation: Truncation,
        /// What the answer has beside the text: `message.output_text.logprobs`.
        "include" => include: Bounded<Name, { limits::NAMES }>,
        /// How the model thinks.
        "reasoning" => reasoning: ChatReasoning,
        /// Most tokens of thoughts: then they are ended, and the model answers. -1 for any number.
        "thinking_budget_tokens" | "thinking_budget"
            => thinking_budget_tokens: Int<-1, { limits::TOKEN }>,
        /// The same, as llama-server calls it too.
        "reasoning_budget_tokens" => reasoning_budget_tokens: Int<-1, { limits::TOKEN }>,
        /// Whether the model thinks, where its chat template has a switch.
        "enable_thinking" => enable_thinking: bool,
        /// The same, as clients of DeepSeek, GLM and LiteLLM send it: `{"type": "disabled"}`.
        "thinking" => thinking: ChatThinking,
        /// Report that many of the most probable tokens.
        "top_logprobs" => top_logprobs: LogprobCount,
        /// Variables for the model's chat template, like `enable_thinking`.
        "chat_template_kwargs" => chat_template_kwargs: TemplateVariables,
        /// Whether the prompt ends where the assistant's next message begins; it does where
        /// nothing is said.
        "add_generation_prompt" => add_generation_prompt: bool,
    }

    /// What a text has to be.
    struct TextOptions {
        /// `text`, `json_object` or `json_schema`.
        "format" => format: ResponseFormat,
        /// A hint for models that take one.
        "verbosity" => verbosity: Name,
    }
}

/// What shall become of a conversation that does not fit.
pub(crate) struct Truncation(Name);

impl<'de> Deserialize<'de> for Truncation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Name::deserialize(deserializer)?;
        match word.0.as_str() {
            "auto" | "disabled" => Ok(Truncation(word)),
            other => Err(D::Error::custom(format_args!(
                "{other:?} is not auto or disabled"
            ))),
        }
    }
}

impl JsonSchema for Truncation {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Truncation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": ["auto", "disabled"] })
    }
}

/// The paths of `text.format`.
const TEXT_FORMAT: FormatPaths = FormatPaths {
    kind: "text.format.type",
    nested: "text.format.schema",
    flat: "text.format.schema",
    foreign: "text.format.response_schema",
};

/// By this name an answer's log probabilities are asked for.
const LOGPROBS: &str = "message.output_text.logprobs";

/// What else can be asked for beside the text; it comes with tools that OpenAI runs, or with
/// thoughts, which are told anyway.
const INCLUDED: [&str; 8] = [
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    LOGPROBS,
];

/// The body of `/v1/responses`, for the OpenAPI document.
pub(crate) enum ResponseRequest {}

impl JsonSchema for ResponseRequest {
    fn schema_name() -> Cow<'static, str> {
        "ResponseRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let about = described::<OfResponse>("A conversation to answer.");
        together::<Common, Response>(generator, &about)
    }
}

/// A response that makes sense.
#[derive(Clone, Debug)]
pub struct ParsedResponse {
    /// What is generated.
    pub job: GenerationJob,
    /// What the answer repeats of the request.
    pub echo: ResponseEcho,
}

/// What the answer to a request for a response repeats of it.
#[derive(Clone, Debug)]
pub struct ResponseEcho {
    /// The fields of the answer, as they are written.
    pub fields: Map<String, Value>,
    /// The functions that stand in a namespace, with its name.
    pub namespaces: Vec<(String, String)>,
    /// Whether the items of the answer may be remembered.
    pub remember: bool,
}

/// Parses the body of `/v1/responses`. `recall` finds an item of an earlier answer by its id.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_response(body: &[u8], recall: &Recall<'_>) -> Result<ParsedResponse, ApiError> {
    parse_response_with(body, recall, &openai_defaults())
}

/// The same, where what the body does not say of sampling is in `defaults`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_response_with(
    body: &[u8],
    recall: &Recall<'_>,
    defaults: &SamplingParams,
) -> Result<ParsedResponse, ApiError> {
    let read: Read<((Common, Response), Others<OfResponse>)> = fields::parse(body)?;
    let ((mut common, response), _) = read.fields;
    if response.max_output_tokens.is_some() {
        common.max_tokens = response.max_output_tokens;
        common.max_completion_tokens = None;
    }
    let mut job = common.job(true, defaults)?;
    job.unknown = read.unknown;
    if job.max_tokens == Some(0) {
        let why = "0 tokens are no answer; ask for 1 or more, or -1 for what fits";
        return Err(ApiError::field("max_output_tokens", why));
    }
    let echo = echo(&response, &job)?;
    answer(job, response, echo, recall)
}

/// The job of a response, and what its answer repeats.
fn answer(
    mut job: GenerationJob,
    mut response: Response,
    mut fields: Map<String, Value>,
    recall: &Recall<'_>,
) -> Result<ParsedResponse, ApiError> {
    set_logprobs(&mut job, &response)?;
    let thoughts = thoughts(&mut response).check()?;
    if thoughts.hidden {
        let why = format!("a response has its thoughts; {UNREAD}");
        return Err(ApiError::field("reasoning.exclude", why));
    }
    job.thinking_budget = thoughts.budget;
    job.template = template_options(
        response.chat_template_kwargs,
        thoughts.effort,
        response.add_generation_prompt,
        false,
    );
    if thoughts.enabled.is_some() {
        job.template.thinking = thoughts.enabled;
    }
    let format = response.text.and_then(|t| t.format);
    if let Some((shape, field)) = format.map(|f| f.shape(&TEXT_FORMAT)).transpose()?.flatten() {
        if job.shape.is_some() {
            let why = format!("`{}` says already what the text has to be", job.shape_field);
            return Err(ApiError::field(field, why));
        }
        job.shape = Some(shape);
        job.shape_field = field;
    }
    let input = response.input.ok_or_else(|| {
        let why = "there must be an input: a text, or a list of items";
        ApiError::field("input", why)
    })?;
    let messages = input.messages(response.instructions.as_deref(), recall)?;
    let choice = response.tool_choice.unwrap_or_default();
    fields.insert("tool_choice".into(), answered_choice(&choice));
    let tools = response.tools.map(|t| t.0).unwrap_or_default();
    let ResponseTools {
        functions,
        namespaces,
        told,
    } = ResponseTools::read(tools)?;
    fields.insert("tools".into(), told.into());
    let calling = Calling {
        functions,
        choice,
        choice_field: "tool_choice",
        form: CallForm::Tools,
    };
    let tools = calling.arrange(&mut job, response.parallel_tool_calls.unwrap_or(true))?;
    job.prompts = vec![PromptInput::Chat { messages, tools }];
    Ok(ParsedResponse {
        job,
        echo: ResponseEcho {
            fields,
            namespaces,
            remember: remembers(response.store),
        },
    })
}

/// The fields that say how the model thinks.
fn thoughts(response: &mut Response) -> ThoughtFields {
    ThoughtFields {
        reasoning: response.reasoning.take(),
        thinking: response.thinking.take(),
        enabled: response.enable_thinking,
        budget: response.thinking_budget_tokens,
        reasoning_budget: response.reasoning_budget_tokens,
        ..ThoughtFields::default()
    }
}

/// Log probabilities are asked for by a name in `include`, or by how many there shall be.
fn set_logprobs(job: &mut GenerationJob, response: &Response) -> Result<(), ApiError> {
    let include = response.include.iter().flat_map(|names| &names.0);
    let mut asked = response.top_logprobs.is_some();
    for (i, name) in include.enumerate() {
        if !INCLUDED.contains(&name.0.as_str()) {
            let why = format!("this server has no {:?} to include; leave it out", name.0);
            return Err(ApiError::field(format!("include[{i}]"), why));
        }
        asked |= name.0 == LOGPROBS;
    }
    job.logprobs = asked.then(|| response.top_logprobs.map_or(0, |n| n.0 as usize));
    Ok(())
}

/// Whether the items of an answer may be remembered, by what its request says of `store`.
fn remembers(store: Option<bool>) -> bool {
    store.unwrap_or(true)
}

/// What the answer repeats, but for tools.
fn echo(response: &Response, job: &GenerationJob) -> Result<Map<String, Value>, ApiError> {
    let metadata = response
        .metadata
        .as_ref()
        .map_or_else(|| json!({}), |m| m.0.clone());
    if !metadata.is_object() {
        let why = "it must be an object of texts";
        return Err(ApiError::field("metadata", why));
    }
    let truncation = response.truncation.as_ref();
    let truncation = truncation.map_or("disabled", |t| t.0.0.as_str());
    let tidy = |number: f32| (f64::from(number) * 1e6).round() / 1e6;
    let word = |name: &Option<Name>| name.as_ref().map(|n| n.0.clone());
    let reasoning = response.reasoning.as_ref();
    let text = response.text.as_ref();
    let format = text.and_then(|t| t.format.as_ref());
    let format = format.map_or_else(|| json!({ "type": "text" }), ResponseFormat::told);
    let fields = json!({
        "instructions": response.instructions,
        "max_output_tokens": job.max_tokens,
        "metadata": metadata,
        "parallel_tool_calls": response.parallel_tool_calls.unwrap_or(true),
        "previous_response_id": null,
        "reasoning": {
            "effort": reasoning.and_then(|r| word(&r.effort)),
            "summary": reasoning.and_then(|r| word(&r.summary)),
        },
        "service_tier": "default",
        "store": remembers(response.store),
        "temperature": tidy(job.params.temperature),
        "text": {
            "format": format,
            "verbosity": text.and_then(|t| word(&t.verbosity)),
        },
        "top_logprobs": response.top_logprobs.map_or(0, |n| n.0),
        "top_p": tidy(job.params.top_p),
        "truncation": truncation,
        "background": false,
    });
    match fields {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests;
