//! `/v1/chat/completions`: the fields that only a chat has, and its parser.

use std::borrow::Cow;

use card_core::sampler::SamplingParams;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::common::Common;
use super::message::Message;
use super::others::OfChat;
use super::reasoning::{ChatReasoning, ChatThink, ChatThinking, ReasoningFormat, ThoughtFields};
use super::template::{TemplateVariables, continues_last, template_options};
use super::tool::{Function, Tool};
use super::tool_choice::ToolChoice;
use crate::answer_format::CALL_END;
use crate::error::ApiError;
use crate::job::{CallForm, GenerationJob, PromptInput};
use crate::limits;
use crate::offered_tool::{OfferedTool, call_of, for_template, offer};
use crate::reading::bounded::{Bounded, Name};
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::{Int, LogprobCount};
use crate::reading::refused::Others;
use crate::reading::schema::{described, together};
use crate::sampling::openai_defaults;

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
        /// Whether an answer may have several calls; it may where nothing is said.
        "parallel_tool_calls" => parallel_tool_calls: bool,
        /// What the model may call, in the words from before there were tools.
        "functions" => functions: Bounded<Function, { limits::TOOLS }>,
        /// Whether it has to, in those words: `none`, `auto`, or a function.
        "function_call" => function_call: ToolChoice,
        /// Answers to the conversation.
        "n" => n: Int<1, { limits::CHOICES }>,
        /// How much a model thinks whose chat template takes a word for that; with `none` it does
        /// not, where the template has a switch.
        "reasoning_effort" => reasoning_effort: Name,
        /// Most tokens of thoughts: then they are ended, and the model answers. -1 for any number.
        "thinking_budget_tokens" | "thinking_budget"
            => thinking_budget_tokens: Int<-1, { limits::TOKEN }>,
        /// The same, as llama-server calls it too.
        "reasoning_budget_tokens" => reasoning_budget_tokens: Int<-1, { limits::TOKEN }>,
        /// Whether the model thinks, where its chat template has a switch.
        "enable_thinking" => enable_thinking: bool,
        /// The same, as clients of DeepSeek, GLM and LiteLLM send it: `{"type": "disabled"}`.
        "thinking" => thinking: ChatThinking,
        /// The same, as Ollama's clients send it; `low`, `medium` and `high` say how much, as
        /// `reasoning_effort`.
        "think" => think: ChatThink,
        /// Effort, budget and switch together, as OpenRouter's clients send them, and `exclude`: with
        /// that thoughts are not sent, and `usage` counts them.
        "reasoning" => reasoning: ChatReasoning,
        /// With false thoughts are not sent; `usage` counts them.
        "include_reasoning" => include_reasoning: bool,
        /// `hidden`: thoughts are not sent; `usage` counts them. With `auto`, `deepseek` or
        /// `parsed` they are `reasoning_content`, as where nothing is said.
        "reasoning_format" => reasoning_format: ReasoningFormat,
        /// Variables for the model's chat template, like `enable_thinking`.
        "chat_template_kwargs" => chat_template_kwargs: TemplateVariables,
        /// Whether the prompt ends where the assistant's next message begins; it does where
        /// nothing is said.
        "add_generation_prompt" => add_generation_prompt: bool,
        /// Whether the answer goes on with the last message; it does where that is text of the
        /// assistant's and nothing is said.
        "continue_final_message" => continue_final_message: bool,
        /// Report times and counts with every chunk of a stream, as llama-server does.
        "timings_per_token" => timings_per_token: bool,
        /// Report, in a stream, how much of the prompt was read, as llama-server does.
        "return_progress" => return_progress: bool,
        /// The answer tells in `__verbose` the prompt as the model read it, and how it was sampled.
        "verbose" => verbose: bool,
    }
}

/// The body of `/v1/chat/completions`, for the OpenAPI document.
pub(crate) enum ChatRequest {}

impl JsonSchema for ChatRequest {
    fn schema_name() -> Cow<'static, str> {
        "ChatRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let about = described::<OfChat>("A conversation to go on with.");
        together::<Common, Chat>(generator, &about)
    }
}

/// Parses the body of `/v1/chat/completions`; what it does not say of sampling is OpenAI's default.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_chat(body: &[u8]) -> Result<GenerationJob, ApiError> {
    parse_chat_with(body, &openai_defaults())
}

/// The same, where what the body does not say of sampling is in `defaults`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_chat_with(body: &[u8], defaults: &SamplingParams) -> Result<GenerationJob, ApiError> {
    let read: Read<((Common, Chat), Others<OfChat>)> = fields::parse(body)?;
    let ((common, mut chat), _) = read.fields;
    let mut job = common.job(true, defaults)?;
    job.unknown = read.unknown;
    job.n = chat.n.map_or(1, |n| n.0 as u32);
    if job.max_tokens == Some(0) {
        let why = "0 tokens are no answer; ask for 1 or more, or -1 for what fits";
        return Err(ApiError::field("max_tokens", why));
    }
    let messages = checked_messages(chat.messages.take().map(|m| m.0).unwrap_or_default())?;
    let wanted = chat.logprobs.unwrap_or(false);
    if chat.top_logprobs.is_some() && !wanted {
        let why = "top_logprobs needs logprobs to be true";
        return Err(ApiError::field("top_logprobs", why));
    }
    job.logprobs = wanted.then(|| chat.top_logprobs.map_or(0, |n| n.0 as usize));
    let thoughts = thoughts(&mut chat).check()?;
    if thoughts.hidden && wanted {
        let why = "`logprobs` would tell the tokens of thoughts that shall not be sent; leave it \
                   out, or have the thoughts sent";
        return Err(ApiError::field("logprobs", why));
    }
    job.thinking_budget = thoughts.budget;
    job.hides_thoughts = thoughts.hidden;
    let begins = chat.add_generation_prompt;
    let continues = continues_last(&messages, chat.continue_final_message, begins)?;
    job.template = template_options(
        chat.chat_template_kwargs.take(),
        thoughts.effort,
        begins,
        continues,
    );
    if thoughts.enabled.is_some() {
        job.template.thinking = thoughts.enabled;
    }
    job.llama.timings_per_token = job.stream && chat.timings_per_token.unwrap_or(false);
    job.llama.progress = job.stream && chat.return_progress.unwrap_or(false);
    job.llama.verbose = chat.verbose.unwrap_or(false);
    let parallel = chat.parallel_tool_calls.unwrap_or(true);
    let calling = Calling::of(chat)?;
    let tools = calling.arrange(&mut job, parallel)?;
    job.prompts = vec![PromptInput::Chat { messages, tools }];
    Ok(job)
}

/// The fields that say how the model thinks, and whether its thoughts are told.
fn thoughts(chat: &mut Chat) -> ThoughtFields {
    ThoughtFields {
        reasoning: chat.reasoning.take(),
        thinking: chat.thinking.take(),
        think: chat.think.take(),
        enabled: chat.enable_thinking,
        effort: chat.reasoning_effort.take(),
        budget: chat.thinking_budget_tokens,
        reasoning_budget: chat.reasoning_budget_tokens,
        include: chat.include_reasoning,
        format: chat.reasoning_format,
    }
}

/// What a model may call, and whether it has to.
pub(super) struct Calling {
    pub(super) functions: Vec<OfferedTool>,
    pub(super) choice: ToolChoice,
    /// The field of the choice, for errors.
    pub(super) choice_field: &'static str,
    pub(super) form: CallForm,
}

impl Calling {
    /// What a chat says of it, in the words of tools or in those from before.
    fn of(chat: Chat) -> Result<Self, ApiError> {
        let legacy = chat.functions.is_some() || chat.function_call.is_some();
        if legacy && (chat.tools.is_some() || chat.tool_choice.is_some()) {
            let why = "`functions` and `function_call` cannot stand beside `tools`";
            return Err(ApiError::field("functions", why));
        }
        let mut functions = Vec::new();
        if legacy {
            let all = chat.functions.map(|f| f.0).unwrap_or_default();
            for (i, function) in all.into_iter().enumerate() {
                functions.push(function.check(&format!("functions[{i}]"))?);
            }
        } else {
            let all = chat.tools.map(|t| t.0).unwrap_or_default();
            for (i, tool) in all.into_iter().enumerate() {
                functions.push(tool.check(i)?);
            }
        }
        let choice = if legacy {
            chat.function_call
        } else {
            chat.tool_choice
        };
        Ok(Calling {
            functions,
            choice: choice.unwrap_or_default(),
            choice_field: if legacy {
                "function_call"
            } else {
                "tool_choice"
            },
            form: if legacy {
                CallForm::Function
            } else {
                CallForm::Tools
            },
        })
    }

    /// Tells the job of it; returns the tools as templates take them. With `parallel` an answer
    /// may have several calls.
    ///
    /// # Errors
    /// If the choice cannot be made, or forces a call where the text has to be something else.
    pub(super) fn arrange(
        self,
        job: &mut GenerationJob,
        parallel: bool,
    ) -> Result<Option<Value>, ApiError> {
        let Calling {
            mut functions,
            choice,
            choice_field,
            form,
        } = self;
        let forced = choice.forces(&functions, choice_field)?;
        if !forced.is_empty() {
            if job.shape.is_some() {
                let shape = job.shape_field;
                let why = format!(
                    "`{choice_field}` makes the answer a call, and `{shape}` says what else it \
                     has to be; leave one of them out"
                );
                return Err(ApiError::field(shape, why));
            }
            job.shape = Some(call_of(forced));
            job.shape_field = "tools";
        }
        if choice.is_none() {
            functions.clear();
        }
        offer(job, &functions);
        job.call_form = form;
        let one = !parallel || form == CallForm::Function;
        if job.tools && one {
            // The first call is the last: the text ends where it does, if the model writes calls
            // so that this can be seen.
            job.one_call = true;
            let stops = job.stop.iter().cloned();
            job.stop = stops.chain([CALL_END.to_owned()]).collect();
        }
        Ok(for_template(functions))
    }
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
