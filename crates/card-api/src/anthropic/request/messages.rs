//! `/v1/messages` and `/v1/messages/count_tokens`: their fields and their parsers.

use std::borrow::Cow;

use card_core::sampler::SamplingParams;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::content::ContentParam;
use super::context::ContextParam;
use super::conversation::{MessageParam, MessagesConversation};
use super::output::{OutputConfigParam, SCHEMA_PATH};
use super::thinking::{ThinkingParam, ThinkingWish};
use super::tool::{ToolParam, check_tool};
use super::tool_choice::{ToolChoiceParam, ToolsInUse, choose};
use crate::error::ApiError;
use crate::job::{GenerationJob, PromptInput};
use crate::limits;
use crate::offered_tool::{call_of, for_template, offer};
use crate::reading::bounded::{Bounded, Name, Text};
use crate::reading::fields::{self, fields};
use crate::reading::loose::Loose;
use crate::reading::number::{Int, Real};
use crate::reading::schema::together;
use crate::reading::strict::{Anything, Noted, Strict, unsupported};
use crate::sampling::openai_defaults;

/// A text that ends an answer. An empty one would end every answer before it begins.
type StopSequence = Text<1, { limits::STOP_BYTES }>;

fields! {
    /// What the model reads. What is only for an answer may stand beside it.
    #[schemars(rename = "CountTokensRequest")]
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct ConversationFields {
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
        /// The conversation. It ends with a message of the user.
        #[schemars(required)]
        "messages" => messages: Bounded<Strict<MessageParam>, { limits::MESSAGES }>,
        /// Instructions: text, or blocks of text. The line `x-anthropic-billing-header:` that
        /// Claude Code begins them with is left out.
        "system" => system: ContentParam,
        /// What the model may call.
        "tools" => tools: Bounded<Noted<ToolParam>, { limits::TOOLS }>,
        /// Whether it has to.
        "tool_choice" => tool_choice: Strict<ToolChoiceParam>,
        /// Whether it thinks before it answers.
        "thinking" => thinking: Strict<ThinkingParam>,
        /// What the text has to be.
        "output_config" => output_config: Strict<OutputConfigParam>,
        /// What to forget of the conversation.
        "context_management" => context_management: Strict<ContextParam>,
        /// Servers of tools are not supported: offer their tools in `tools`.
        "mcp_servers" => mcp_servers: Loose,
        /// Containers are not supported.
        "container" => container: Loose,
        /// Without effect: what can be kept of a prompt is kept anyway.
        "cache_control" => cache_control: Anything,
        /// Without effect; the audit log names who asks by the key.
        "metadata" => metadata: Anything,
        /// Without effect.
        "diagnostics" => diagnostics: Anything,
        /// Without effect.
        "inference_geo" => inference_geo: Anything,
        /// Without effect.
        "service_tier" => service_tier: Anything,
        /// Without effect: every request is generated as fast as can be.
        "speed" => speed: Anything,
        /// Without effect.
        "user_profile_id" => user_profile_id: Anything,
        /// Without effect.
        "workspace_id" => workspace_id: Anything,
    }

    /// How the model answers.
    struct GenerationFields {
        /// Most tokens to write; more than the context holds is cut to that.
        #[schemars(required)]
        "max_tokens" => max_tokens: Int<1, { u32::MAX as i64 }>,
        /// 0 takes the most probable token; 1, the default where the server has none of its own,
        /// samples from the model's distribution.
        "temperature" => temperature: Real<limits::Temperature>,
        /// Only the most probable tokens whose probabilities add up to this.
        "top_p" => top_p: Real<limits::TopMass>,
        /// Only that many of the most probable tokens; 0 and -1 for all.
        "top_k" => top_k: Int<-1, { u32::MAX as i64 }>,
        /// Texts that end the answer, each of at most 1024 bytes.
        "stop_sequences" => stop_sequences: Bounded<StopSequence, { limits::STOPS }>,
        /// Send the answer as it is written.
        "stream" => stream: bool,
    }
}

/// The body of `/v1/messages`, for the OpenAPI document.
pub(crate) enum MessagesBody {}

impl JsonSchema for MessagesBody {
    fn schema_name() -> Cow<'static, str> {
        "MessagesRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let about = "A conversation to go on with.";
        let mut schema = together::<ConversationFields, GenerationFields>(generator, about);
        schema.insert("additionalProperties".into(), false.into());
        schema
    }
}

/// A request for an answer.
#[derive(Debug)]
pub struct MessagesRequest {
    /// What to generate.
    pub job: GenerationJob,
    /// How to think.
    pub thinking: ThinkingWish,
    /// Whether the answer calls at most one tool.
    pub one_call: bool,
}

type Both = Strict<(ConversationFields, GenerationFields)>;

/// Parses the body of `/v1/messages`; what it does not say of sampling is Anthropic's default.
///
/// # Errors
/// Names the field that is wrong or not supported with its path, and how.
pub fn parse_messages(body: &[u8]) -> Result<MessagesRequest, ApiError> {
    parse_messages_with(body, &openai_defaults())
}

/// The same, where what the body does not say of sampling is in `defaults`.
///
/// # Errors
/// Names the field that is wrong or not supported with its path, and how.
pub fn parse_messages_with(
    body: &[u8],
    defaults: &SamplingParams,
) -> Result<MessagesRequest, ApiError> {
    let (conversation, generation) = fields::parse::<Both>(body)?.fields.0;
    let Some(Int(max_tokens)) = generation.max_tokens else {
        let why = "there must be `max_tokens`, the most tokens to write";
        return Err(ApiError::field("max_tokens", why));
    };
    let mut request = conversation.request(Some(max_tokens as u32))?;
    let job = &mut request.job;
    job.max_tokens = Some(max_tokens as u32);
    job.params = generation.params(defaults)?;
    let stops = generation.stop_sequences.map(|stops| stops.0);
    let stops = stops.unwrap_or_default().into_iter();
    job.stop = stops.map(|stop| stop.0).collect();
    job.stream = generation.stream.unwrap_or(false);
    Ok(request)
}

/// Parses the body of `/v1/messages/count_tokens`: the job has a prompt, and is not to be run.
///
/// # Errors
/// Names the field that is wrong or not supported with its path, and how.
pub fn parse_count(body: &[u8]) -> Result<GenerationJob, ApiError> {
    let (conversation, _) = fields::parse::<Both>(body)?.fields.0;
    conversation.request(None).map(|request| request.job)
}

impl ConversationFields {
    /// The request for an answer of at most `max_tokens`, without how the answer is sampled.
    fn request(self, max_tokens: Option<u32>) -> Result<MessagesRequest, ApiError> {
        self.check_unsupported()?;
        let thinking = self.thinking.map(|thinking| thinking.0.check(max_tokens));
        let thinking = thinking.transpose()?.unwrap_or_default();
        if let Some(context) = self.context_management {
            context.0.check()?;
        }
        let mut job = GenerationJob::new(true);
        job.model = self.model.map(|model| model.0);
        job.template.thinking = thinking.enabled;
        job.thinking_budget = thinking.budget;
        if let Some(format) = self.output_config.and_then(|output| output.0.format) {
            job.shape = Some(format.0.shape()?);
            job.shape_field = SCHEMA_PATH;
        }
        let tools = self.tools.map(|tools| tools.0).unwrap_or_default();
        let tools = tools.into_iter().enumerate();
        let tools = tools.map(|(i, tool)| check_tool(i, tool));
        let choice = self.tool_choice.map(|choice| choice.0);
        let ToolsInUse {
            offered,
            forced,
            one_call,
        } = choose(choice, tools.collect::<Result<_, _>>()?)?;
        if !forced.is_empty() {
            if job.shape.is_some() {
                let why = "an answer that has to call a tool cannot have a format as well";
                return Err(ApiError::field("output_config.format", why));
            }
            job.shape = Some(call_of(&offered[forced]));
            job.shape_field = "tools";
        }
        offer(&mut job, &offered);
        let messages = self.messages.map(|messages| messages.0).unwrap_or_default();
        job.prompts = vec![PromptInput::Chat {
            messages: conversation(self.system, messages)?,
            tools: for_template(offered),
        }];
        Ok(MessagesRequest {
            job,
            thinking,
            one_call,
        })
    }

    /// Whether nothing is asked for that is not done.
    fn check_unsupported(&self) -> Result<(), ApiError> {
        unsupported(
            "mcp_servers",
            self.mcp_servers.as_ref().map(|servers| &servers.0),
            "servers of tools are not asked; offer their tools in `tools`",
        )?;
        unsupported(
            "container",
            self.container.as_ref().map(|container| &container.0),
            "containers are not supported; leave it out",
        )
    }
}

/// The messages as chat templates take them.
fn conversation(
    system: Option<ContentParam>,
    messages: Vec<Strict<MessageParam>>,
) -> Result<serde_json::Value, ApiError> {
    if messages.is_empty() {
        let why = "`messages` must hold a message";
        return Err(ApiError::field("messages", why));
    }
    let mut conversation = MessagesConversation::default();
    if let Some(system) = system {
        conversation.system(system)?;
    }
    for (i, message) in messages.into_iter().enumerate() {
        conversation.message(i, message.0)?;
    }
    conversation.messages()
}

impl GenerationFields {
    /// How to sample; what is not given is in `defaults`.
    fn params(&self, defaults: &SamplingParams) -> Result<SamplingParams, ApiError> {
        let temperature = self.temperature.as_ref();
        let top_k = self.top_k.as_ref();
        let params = SamplingParams {
            temperature: temperature.map_or(defaults.temperature, |t| t.0),
            top_p: self.top_p.as_ref().map_or(defaults.top_p, |p| p.0),
            top_k: top_k.map_or(defaults.top_k, |k| k.0.max(0) as u32),
            ..defaults.clone()
        };
        // The ranges of the fields are those that the sampler wants; should the sampler want
        // narrower ones, its reason names the field.
        params.clone().checked().map_err(|e| {
            let name = e.name.replace('-', "_");
            ApiError::field(&name, format!("{name}: {e}"))
        })?;
        Ok(params)
    }
}
