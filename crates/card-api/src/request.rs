//! Requests: parsed, checked, and turned into something the engine can run.

use std::borrow::Cow;
use std::sync::Arc;

use card_core::sampler::SamplingParams;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::bounded::{Bounded, Text};
use crate::fields::{self, Read, fields};
use crate::limits;
use crate::loose::Loose;
use crate::message::{Content, Message};
use crate::number::{Int, MaxTokens, Real, Seed};
use crate::openapi::together;
use crate::{ApiError, Shape};

mod bias;
mod choice;
mod prompt;
mod stop;

use bias::Biases;
use choice::ToolChoice;
pub use prompt::Prompt;
use prompt::Prompts;
use stop::Stops;

type Name = Text<0, { limits::NAME_BYTES }>;
type Logprobs = Int<0, { limits::LOGPROBS }>;

/// A request that makes sense. It is made once and shared: no answer needs a copy of it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whether it came as a chat.
    pub chat: bool,
    /// The prompts; a completion may have several. Together with `n` they ask for at most
    /// [`limits::ANSWERS`] answers.
    pub prompts: Vec<Prompt>,
    /// The model's name as the client gave it.
    pub model: Option<String>,
    /// How to sample; it was checked. The seed is filled in if the client gave none.
    pub params: SamplingParams,
    /// The client's seed.
    pub seed: Option<u64>,
    /// Most tokens to write; `None` for what fits.
    pub max_tokens: Option<u32>,
    /// Texts that end it.
    pub stop: Arc<[String]>,
    /// Answers to each prompt.
    pub n: u32,
    /// Stream the answer.
    pub stream: bool,
    /// Report usage at the end of a stream.
    pub include_usage: bool,
    /// Log probabilities, and of how many of the most probable tokens.
    pub logprobs: Option<usize>,
    /// What the text has to be.
    pub shape: Option<Shape>,
    /// Where in the request the shape stands, for errors of its grammar.
    pub shape_field: &'static str,
    /// The answer the client expects. It may be as long as a body; more of it than the
    /// context holds is of no use.
    pub prediction: String,
    /// The answer begins with the prompt.
    pub echo: bool,
    /// Look for calls of tools in the answer.
    pub tools: bool,
    /// The drafter that is for it; not from the body, but a header.
    pub drafter: Option<String>,
    /// Fields of the request that nothing is called; they are ignored.
    pub unknown: usize,
}

fields! {
    /// The fields a chat and a completion have in common.
    struct Common {
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
        /// 0 takes the most probable token; 1, the default, samples from the model's
        /// distribution.
        "temperature" => temperature: Real<limits::Temperature>,
        /// Only the most probable tokens whose probabilities add up to this.
        "top_p" => top_p: Real<limits::Mass>,
        /// Only that many of the most probable tokens; 0 and -1 for all.
        "top_k" => top_k: Int<-1, { u32::MAX as i64 }>,
        /// Only tokens at least this fraction as probable as the best.
        "min_p" => min_p: Real<limits::Share>,
        /// Divides the logit of a token that was seen.
        "repetition_penalty" | "repeat_penalty" => repetition_penalty: Real<limits::Repetition>,
        /// Taken from the logit for every time the token was seen.
        "frequency_penalty" => frequency_penalty: Real<limits::Penalty>,
        /// Taken once from the logit of a token that was seen.
        "presence_penalty" => presence_penalty: Real<limits::Penalty>,
        /// Added to the logits of these tokens; -100 bans, 100 commands.
        "logit_bias" => logit_bias: Biases,
        /// The same seed gives the same answer; -1 for a new one each time.
        "seed" => seed: Seed,
        /// Answers to each prompt; with several prompts at most 64 answers together.
        "n" => n: Int<1, { limits::CHOICES }>,
        /// Most tokens to write; -1 for what fits.
        "max_tokens" => max_tokens: MaxTokens,
        /// The same, in chats' newer word; it has precedence.
        "max_completion_tokens" => max_completion_tokens: MaxTokens,
        /// Texts that end the answer, each of at most 1024 bytes.
        "stop" => stop: Stops,
        /// Send the answer as it is written.
        "stream" => stream: bool,
        /// How to stream.
        "stream_options" => stream_options: StreamOptions,
        /// The answer that is expected; what is right of it comes sooner.
        "prediction" => prediction: Prediction,
        /// What the text has to be.
        "response_format" => response_format: ResponseFormat,
    }

    /// How to stream.
    struct StreamOptions {
        /// Report usage at the end.
        "include_usage" => include_usage: bool,
    }

    /// An answer that is expected.
    struct Prediction {
        /// `content`.
        #[schemars(rename = "type")]
        "type" => kind: Name,
        /// The text.
        #[schemars(required)]
        "content" => content: Content,
    }

    /// What the text has to be.
    struct ResponseFormat {
        /// `text`, `json_object` or `json_schema`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The schema, for `json_schema`.
        "json_schema" => json_schema: NamedSchema,
    }

    /// A schema with a name.
    struct NamedSchema {
        /// A JSON Schema.
        "schema" => schema: Loose,
    }

    /// The fields of a chat only.
    struct Chat {
        /// The conversation.
        #[schemars(required)]
        "messages" => messages: Bounded<Message, { limits::MESSAGES }>,
        /// Report what the model thought of each token.
        "logprobs" => logprobs: bool,
        /// Report that many of the most probable tokens too; needs `logprobs`.
        "top_logprobs" => top_logprobs: Logprobs,
        /// What the model may call.
        "tools" => tools: Bounded<Tool, { limits::TOOLS }>,
        /// Whether it has to: `none`, `auto`, `required`, or a function.
        "tool_choice" => tool_choice: ToolChoice,
    }

    /// A tool.
    struct Tool {
        /// `function`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The function.
        #[schemars(required)]
        "function" => function: Function,
    }

    /// A function that can be called.
    struct Function {
        /// Its name.
        #[schemars(required)]
        "name" => name: Name,
        /// What it does.
        "description" => description: String,
        /// A JSON Schema of its arguments.
        "parameters" => parameters: Loose,
    }

    /// The fields of a completion only.
    struct Completion {
        /// What goes before the text that is generated.
        #[schemars(required)]
        "prompt" => prompt: Prompts,
        /// Report what the model thought of each token, and of that many of the most probable.
        "logprobs" => logprobs: Logprobs,
        /// The answer begins with the prompt.
        "echo" => echo: bool,
    }
}

/// The body of `/v1/chat/completions`, for the OpenAPI document.
pub(crate) enum ChatRequest {}

impl JsonSchema for ChatRequest {
    fn schema_name() -> Cow<'static, str> {
        "ChatRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        together::<Common, Chat>(generator, "A conversation to go on with.")
    }
}

/// The body of `/v1/completions`, for the OpenAPI document.
pub(crate) enum CompletionRequest {}

impl JsonSchema for CompletionRequest {
    fn schema_name() -> Cow<'static, str> {
        "CompletionRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        together::<Common, Completion>(generator, "A text to go on with.")
    }
}

/// Parses the body of `/v1/chat/completions`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_chat(body: &[u8]) -> Result<Job, ApiError> {
    let read: Read<(Common, Chat)> = fields::parse(body)?;
    let (common, chat) = read.fields;
    let mut job = common.job(true)?;
    job.unknown = read.unknown;
    let messages = chat.messages.map(|m| m.0).unwrap_or_default();
    if messages.is_empty() {
        return Err(ApiError::field(
            "messages",
            "`messages` must hold a message",
        ));
    }
    let messages = messages.into_iter().enumerate();
    let messages = messages
        .map(|(i, message)| message.check(i))
        .collect::<Result<Value, ApiError>>()?;
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
        let any = || json!({ "type": "object" });
        let call = |f: &Checked| {
            let parameters = f.parameters.clone();
            (f.name.clone(), parameters.unwrap_or_else(any))
        };
        job.shape = Some(Shape::Call(forced.iter().map(call).collect()));
        job.shape_field = "tools";
    }
    if choice.is_none() {
        functions.clear();
    }
    job.tools = !functions.is_empty();
    let tools: Value = functions.into_iter().map(Checked::value).collect();
    job.prompts = vec![Prompt::Chat {
        messages,
        tools: job.tools.then_some(tools),
    }];
    Ok(job)
}

/// Parses the body of `/v1/completions`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_completion(body: &[u8]) -> Result<Job, ApiError> {
    let read: Read<(Common, Completion)> = fields::parse(body)?;
    let (common, completion) = read.fields;
    let mut job = common.job(false)?;
    job.unknown = read.unknown;
    let Some(prompts) = completion.prompt else {
        return Err(ApiError::field("prompt", "there must be a prompt"));
    };
    job.prompts = prompts.0;
    let answers = job.prompts.len() * job.n as usize;
    if answers > limits::ANSWERS {
        let why = format!(
            "{} answers to each of {} prompts are {answers}, but at most {} can be asked for at \
             once",
            job.n,
            job.prompts.len(),
            limits::ANSWERS
        );
        return Err(ApiError::field("n", why));
    }
    job.logprobs = completion.logprobs.map(|n| n.0 as usize);
    job.echo = completion.echo.unwrap_or(false);
    Ok(job)
}

impl Common {
    fn job(self, chat: bool) -> Result<Job, ApiError> {
        let params = SamplingParams {
            // OpenAI's defaults.
            temperature: self.temperature.map_or(1.0, |t| t.0),
            top_p: self.top_p.map_or(1.0, |p| p.0),
            top_k: self.top_k.map_or(0, |k| k.0.max(0) as u32),
            min_p: self.min_p.map_or(0.0, |p| p.0),
            repeat_penalty: self.repetition_penalty.map_or(1.0, |p| p.0),
            frequency_penalty: self.frequency_penalty.map_or(0.0, |p| p.0),
            presence_penalty: self.presence_penalty.map_or(0.0, |p| p.0),
            // Penalties count the whole text.
            penalty_window: u32::MAX,
            logit_bias: self.logit_bias.map(|b| b.0).unwrap_or_default(),
            ..SamplingParams::default()
        };
        // The ranges above are those that the sampler wants; should it want less, it says so.
        params.clone().checked().map_err(|e| {
            let name = match e.name {
                "repeat-penalty" => "repetition_penalty".to_owned(),
                other => other.replace('-', "_"),
            };
            ApiError::field(&name, format!("{name}: {e}"))
        })?;
        let max_tokens = match self.max_completion_tokens.or(self.max_tokens) {
            Some(given) => given.0,
            // What OpenAI's completions default to.
            None => (!chat).then_some(16),
        };
        let options = self.stream_options.unwrap_or_default();
        Ok(Job {
            chat,
            prompts: Vec::new(),
            model: self.model.map(|m| m.0),
            params,
            seed: self.seed.and_then(|s| s.0),
            max_tokens,
            stop: self.stop.unwrap_or_default().0.into(),
            n: self.n.map_or(1, |n| n.0 as u32),
            stream: self.stream.unwrap_or(false),
            include_usage: options.include_usage.unwrap_or(false),
            logprobs: None,
            shape: self
                .response_format
                .map(ResponseFormat::shape)
                .transpose()?
                .flatten(),
            shape_field: "response_format.json_schema.schema",
            prediction: self
                .prediction
                .map(Prediction::text)
                .transpose()?
                .unwrap_or_default(),
            echo: false,
            tools: false,
            drafter: None,
            unknown: 0,
        })
    }
}

impl ResponseFormat {
    fn shape(self) -> Result<Option<Shape>, ApiError> {
        let kind = self.kind.map(|k| k.0).unwrap_or_default();
        match kind.as_str() {
            "text" => Ok(None),
            "json_object" => Ok(Some(Shape::Object)),
            "json_schema" => {
                let schema = self.json_schema.and_then(|s| s.schema);
                let path = "response_format.json_schema.schema";
                let why = "a response_format of type json_schema needs json_schema.schema";
                let schema = schema.ok_or_else(|| ApiError::field(path, why))?;
                Ok(Some(Shape::Schema(schema.0)))
            }
            other => {
                let why = format!("{other:?} is not text, json_object or json_schema");
                Err(ApiError::field("response_format.type", why))
            }
        }
    }
}

impl Prediction {
    fn text(self) -> Result<String, ApiError> {
        if self.kind.is_some_and(|kind| kind.0 != "content") {
            let why = "the type of a prediction must be \"content\"";
            return Err(ApiError::field("prediction.type", why));
        }
        let why = "a prediction needs content";
        let content = self
            .content
            .ok_or_else(|| ApiError::field("prediction.content", why))?;
        Ok(content.0)
    }
}

/// A function that can be called: it has a name.
struct Checked {
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
}

impl Tool {
    /// Tool number `i`, if it is a function.
    fn check(self, i: usize) -> Result<Checked, ApiError> {
        let field = |name: &str| format!("tools[{i}].{name}");
        let kind = self.kind.map(|k| k.0).unwrap_or_default();
        if kind != "function" {
            let why = format!("tools of type {kind:?} are not supported, only functions");
            return Err(ApiError::field(field("type"), why));
        }
        let Some(function) = self.function else {
            return Err(ApiError::field(
                field("function"),
                "there must be a function",
            ));
        };
        let name = function.name.map(|n| n.0).unwrap_or_default();
        if name.is_empty() {
            let why = "every function needs a name";
            return Err(ApiError::field(field("function.name"), why));
        }
        Ok(Checked {
            name,
            description: function.description,
            parameters: function.parameters.map(|p| p.0),
        })
    }
}

impl Checked {
    /// The tool as templates take it.
    fn value(self) -> Value {
        let mut function = Map::new();
        function.insert("name".into(), self.name.into());
        if let Some(description) = self.description {
            function.insert("description".into(), description.into());
        }
        if let Some(parameters) = self.parameters {
            function.insert("parameters".into(), parameters);
        }
        let mut tool = Map::new();
        tool.insert("type".into(), "function".into());
        tool.insert("function".into(), Value::Object(function));
        Value::Object(tool)
    }
}

#[cfg(test)]
mod tests;
