//! Requests: parsed, checked, and turned into something the engine can run.

use std::collections::BTreeMap;

use card_core::sampler::SamplingParams;
use card_core::types::Token;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{ApiError, Shape};

/// Most alternatives of one request.
const MOST_CHOICES: u32 = 16;
/// Most log probabilities with each token.
const MOST_LOGPROBS: u32 = 20;
/// Most stop strings; OpenAI takes four.
const MOST_STOPS: usize = 16;

/// What goes before the text that is generated.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A conversation, for the model's chat template.
    Chat {
        /// The messages, as the template takes them.
        messages: Value,
        /// Tools the model may call.
        tools: Option<Value>,
    },
    /// Text as it is.
    Text(String),
    /// Tokens as they are.
    Tokens(Vec<Token>),
}

/// A request that makes sense.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whether it came as a chat.
    pub chat: bool,
    /// The prompts; a completion may have several.
    pub prompts: Vec<Prompt>,
    /// The model's name as the client gave it.
    pub model: Option<String>,
    /// How to sample; the seed is filled in if the client gave none.
    pub params: SamplingParams,
    /// The client's seed.
    pub seed: Option<u64>,
    /// Most tokens to write; `None` for what fits.
    pub max_tokens: Option<u32>,
    /// Texts that end it.
    pub stop: Vec<String>,
    /// Alternatives.
    pub n: u32,
    /// Stream the answer.
    pub stream: bool,
    /// Report usage at the end of a stream.
    pub include_usage: bool,
    /// Log probabilities, and of how many of the most probable tokens.
    pub logprobs: Option<usize>,
    /// What the text has to be.
    pub shape: Option<Shape>,
    /// The answer the client expects.
    pub prediction: String,
    /// The answer begins with the prompt.
    pub echo: bool,
    /// Look for calls of tools in the answer.
    pub tools: bool,
    /// The drafter that is for it; not from the body, but a header.
    pub drafter: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Deserialize, Default)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// The fields a chat and a completion have in common.
#[derive(Deserialize)]
struct Common {
    model: Option<String>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    min_p: Option<f32>,
    #[serde(alias = "repeat_penalty")]
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logit_bias: Option<BTreeMap<String, f32>>,
    seed: Option<i64>,
    n: Option<u32>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stop: Option<OneOrMany<String>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    prediction: Option<Prediction>,
    response_format: Option<ResponseFormat>,
}

#[derive(Deserialize)]
struct Prediction {
    #[serde(default = "content_type")]
    r#type: String,
    content: Value,
}

fn content_type() -> String {
    "content".into()
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
    json_schema: Option<NamedSchema>,
}

#[derive(Deserialize)]
struct NamedSchema {
    schema: Option<Value>,
}

#[derive(Deserialize)]
struct Chat {
    messages: Vec<Map<String, Value>>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,
}

#[derive(Clone, Deserialize, serde::Serialize)]
struct Tool {
    r#type: String,
    function: Function,
}

#[derive(Clone, Deserialize, serde::Serialize)]
struct Function {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ToolChoice {
    Word(String),
    Named { function: NamedFunction },
}

#[derive(Deserialize)]
struct NamedFunction {
    name: String,
}

#[derive(Deserialize)]
struct Completion {
    prompt: Option<PromptField>,
    logprobs: Option<u32>,
    echo: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PromptField {
    Text(String),
    Tokens(Vec<Token>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<Token>>),
}

/// Parses the body of `/v1/chat/completions`.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_chat(body: &[u8]) -> Result<Job, ApiError> {
    let body = object(body)?;
    let chat: Chat = fields(&body)?;
    let mut job = common(&body, true)?;
    if chat.messages.is_empty() {
        return Err(ApiError::field("messages", "there must be a message"));
    }
    let messages: Result<Vec<Value>, ApiError> = chat
        .messages
        .into_iter()
        .enumerate()
        .map(|(i, m)| message(i, m))
        .collect();
    let wanted = chat.logprobs.unwrap_or(false);
    if chat.top_logprobs.is_some() && !wanted {
        let why = "top_logprobs needs logprobs to be true";
        return Err(ApiError::field("top_logprobs", why));
    }
    job.logprobs = wanted
        .then(|| count_logprobs("top_logprobs", chat.top_logprobs))
        .transpose()?;
    let mut tools = chat.tools.filter(|t| !t.is_empty());
    let choice = chat.tool_choice.unwrap_or(ToolChoice::Word("auto".into()));
    let forced = match (&choice, &tools) {
        (ToolChoice::Word(word), _) if word == "none" => {
            tools = None;
            None
        }
        (ToolChoice::Word(word), _) if word == "auto" => None,
        (ToolChoice::Word(word), Some(tools)) if word == "required" => Some(tools.clone()),
        (ToolChoice::Named { function }, Some(tools)) => {
            let found = tools.iter().find(|t| t.function.name == function.name);
            let why = || format!("there is no tool {:?}", function.name);
            Some(vec![
                found
                    .ok_or_else(|| ApiError::field("tool_choice", why()))?
                    .clone(),
            ])
        }
        (_, None) => {
            return Err(ApiError::field(
                "tool_choice",
                "there are no tools to choose",
            ));
        }
        (ToolChoice::Word(word), _) => {
            let why = format!("{word:?} is not none, auto, required or a function");
            return Err(ApiError::field("tool_choice", why));
        }
    };
    if let Some(tool) = tools.iter().flatten().find(|t| t.r#type != "function") {
        let why = format!(
            "tools of type {:?} are not supported, only functions",
            tool.r#type
        );
        return Err(ApiError::field("tools", why));
    }
    if let Some(forced) = forced {
        let any = || json!({ "type": "object" });
        let call = |t: Tool| (t.function.name, t.function.parameters.unwrap_or_else(any));
        job.shape = Some(Shape::Call(forced.into_iter().map(call).collect()));
    }
    job.tools = tools.is_some();
    let tools = tools.map(serde_json::to_value).transpose();
    job.prompts = vec![Prompt::Chat {
        messages: Value::Array(messages?),
        tools: tools.map_err(|e| ApiError::field("tools", e.to_string()))?,
    }];
    Ok(job)
}

/// Parses the body of `/v1/completions`.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_completion(body: &[u8]) -> Result<Job, ApiError> {
    let body = object(body)?;
    let completion: Completion = fields(&body)?;
    let mut job = common(&body, false)?;
    job.prompts = match completion.prompt {
        None => return Err(ApiError::field("prompt", "there must be a prompt")),
        Some(PromptField::Text(text)) => vec![Prompt::Text(text)],
        Some(PromptField::Tokens(tokens)) => vec![Prompt::Tokens(tokens)],
        Some(PromptField::Texts(texts)) => texts.into_iter().map(Prompt::Text).collect(),
        Some(PromptField::TokenLists(lists)) => lists.into_iter().map(Prompt::Tokens).collect(),
    };
    if job.prompts.is_empty() || job.prompts.len() > MOST_CHOICES as usize {
        let why = format!("there must be 1 to {MOST_CHOICES} prompts");
        return Err(ApiError::field("prompt", why));
    }
    job.logprobs = completion
        .logprobs
        .map(|n| count_logprobs("logprobs", Some(n)))
        .transpose()?;
    job.echo = completion.echo.unwrap_or(false);
    Ok(job)
}

fn object(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| ApiError::invalid(format!("the body is not JSON: {e}")))?;
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(ApiError::invalid("the body must be a JSON object")),
    }
}

fn fields<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    // Which field it is, where serde can tell, is found by trying them one by one.
    T::deserialize(body).map_err(|error| {
        let message = error.to_string();
        match message
            .split('`')
            .nth(1)
            .filter(|_| message.starts_with("missing field"))
        {
            Some(field) => ApiError::field(field.to_owned(), format!("`{field}` is missing")),
            None => match wrong_field::<T>(body) {
                Some(field) => ApiError::field(field.clone(), format!("`{field}`: {message}")),
                None => ApiError::invalid(message),
            },
        }
    })
}

/// The field without which the rest would do.
fn wrong_field<T: DeserializeOwned>(body: &Value) -> Option<String> {
    let all = body.as_object()?;
    let without = |key: &&String| {
        let mut rest = all.clone();
        rest.remove(*key);
        match T::deserialize(&Value::Object(rest)) {
            Ok(_) => true,
            Err(error) => error
                .to_string()
                .contains(&format!("missing field `{key}`")),
        }
    };
    all.keys().find(without).cloned()
}

fn common(body: &Value, chat: bool) -> Result<Job, ApiError> {
    let c: Common = fields(body)?;
    let mut params = SamplingParams {
        // OpenAI's defaults.
        temperature: c.temperature.unwrap_or(1.0),
        top_p: c.top_p.unwrap_or(1.0),
        top_k: c.top_k.unwrap_or(0),
        min_p: c.min_p.unwrap_or(0.0),
        repeat_penalty: c.repetition_penalty.unwrap_or(1.0),
        frequency_penalty: c.frequency_penalty.unwrap_or(0.0),
        presence_penalty: c.presence_penalty.unwrap_or(0.0),
        // Penalties count the whole text.
        penalty_window: u32::MAX,
        ..SamplingParams::default()
    };
    for (token, bias) in c.logit_bias.unwrap_or_default() {
        let id: Token = token.parse().map_err(|_| {
            ApiError::field(
                "logit_bias",
                format!("{token:?} is not the number of a token"),
            )
        })?;
        if !(-100.0..=100.0).contains(&bias) {
            let why = format!("the bias of {token} is {bias}, but must be between -100 and 100");
            return Err(ApiError::field("logit_bias", why));
        }
        // OpenAI's -100 is a ban and 100 a command.
        let bias = match bias {
            b if b <= -100.0 => f32::NEG_INFINITY,
            b if b >= 100.0 => 1e4,
            b => b,
        };
        params.logit_bias.push((id, bias));
    }
    params
        .validate()
        .map_err(|e| ApiError::field(e.name.replace('-', "_"), e.to_string()))?;
    let n = c.n.unwrap_or(1);
    if n == 0 || n > MOST_CHOICES {
        return Err(ApiError::field(
            "n",
            format!("n is {n}, but must be 1 to {MOST_CHOICES}"),
        ));
    }
    let max_tokens = c.max_completion_tokens.or(c.max_tokens);
    if max_tokens == Some(0) {
        return Err(ApiError::field(
            "max_tokens",
            "max_tokens must be at least 1",
        ));
    }
    let stop = c.stop.map(OneOrMany::into_vec).unwrap_or_default();
    if stop.len() > MOST_STOPS {
        let why = format!(
            "there are {} stop strings, at most {MOST_STOPS} are possible",
            stop.len()
        );
        return Err(ApiError::field("stop", why));
    }
    Ok(Job {
        chat,
        prompts: Vec::new(),
        model: c.model,
        params,
        seed: c.seed.map(|s| s as u64),
        max_tokens: match (max_tokens, chat) {
            // What OpenAI's completions default to.
            (None, false) => Some(16),
            (given, _) => given,
        },
        stop,
        n,
        stream: c.stream.unwrap_or(false),
        include_usage: c
            .stream_options
            .and_then(|o| o.include_usage)
            .unwrap_or(false),
        logprobs: None,
        shape: c.response_format.map(shape).transpose()?.flatten(),
        prediction: c
            .prediction
            .map(prediction)
            .transpose()?
            .unwrap_or_default(),
        echo: false,
        tools: false,
        drafter: None,
    })
}

fn count_logprobs(field: &str, n: Option<u32>) -> Result<usize, ApiError> {
    let n = n.unwrap_or(0);
    if n > MOST_LOGPROBS {
        let why = format!("{field} is {n}, but must be 0 to {MOST_LOGPROBS}");
        return Err(ApiError::field(field, why));
    }
    Ok(n as usize)
}

fn shape(format: ResponseFormat) -> Result<Option<Shape>, ApiError> {
    match format.r#type.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Shape::Object)),
        "json_schema" => {
            let schema = format.json_schema.and_then(|s| s.schema);
            let why = "json_schema needs json_schema.schema";
            let schema = schema.ok_or_else(|| ApiError::field("response_format", why))?;
            Ok(Some(Shape::Schema(schema)))
        }
        other => {
            let why = format!("{other:?} is not text, json_object or json_schema");
            Err(ApiError::field("response_format", why))
        }
    }
}

fn prediction(prediction: Prediction) -> Result<String, ApiError> {
    if prediction.r#type != "content" {
        return Err(ApiError::field(
            "prediction",
            "its type must be \"content\"",
        ));
    }
    text_of(prediction.content).map_err(|why| ApiError::field("prediction", why))
}

/// A message as templates take it: content is text.
fn message(i: usize, mut message: Map<String, Value>) -> Result<Value, ApiError> {
    let field = |name: &str| format!("messages[{i}].{name}");
    let role = message.get("role").and_then(Value::as_str);
    let Some(role) = role.map(str::to_owned) else {
        return Err(ApiError::field(field("role"), "every message needs a role"));
    };
    if role == "developer" {
        message.insert("role".into(), "system".into());
    }
    let calls = message.get("tool_calls").is_some_and(|c| !c.is_null());
    match message.remove("content") {
        None | Some(Value::Null) if calls => {
            message.insert("content".into(), "".into());
        }
        None | Some(Value::Null) => {
            let why = format!("the {role} message has no content");
            return Err(ApiError::field(field("content"), why));
        }
        Some(content) => {
            let text = text_of(content).map_err(|why| ApiError::field(field("content"), why))?;
            message.insert("content".into(), text.into());
        }
    }
    // Arguments come as text; templates want the object.
    for call in message
        .get_mut("tool_calls")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let arguments = call.pointer_mut("/function/arguments");
        if let Some(arguments) = arguments
            && let Some(parsed) = arguments
                .as_str()
                .and_then(|a| serde_json::from_str(a).ok())
        {
            *arguments = parsed;
        }
    }
    message.retain(|_, value| !value.is_null());
    Ok(Value::Object(message))
}

/// The text of a content field: a string, or parts of type text.
fn text_of(content: Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text),
        Value::Array(parts) => parts
            .into_iter()
            .map(
                |part| match (part["type"].as_str(), part["text"].as_str()) {
                    (Some("text") | None, Some(text)) => Ok(text.to_owned()),
                    (Some(other), _) => Err(format!(
                        "parts of type {other:?} are not supported, only text"
                    )),
                    _ => Err("a part has no text".to_owned()),
                },
            )
            .collect(),
        _ => Err("content must be text or a list of parts".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chat(extra: &str) -> Result<Job, ApiError> {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{extra}}}"#);
        parse_chat(body.as_bytes())
    }

    /// The field that is named and the message.
    fn refusal(result: Result<Job, ApiError>) -> (String, String) {
        let body = result.unwrap_err().body();
        let error = &body["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (text("param"), text("message"))
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let job =
            chat(r#","user":"me","store":true,"service_tier":"auto","max_tokens":5"#).unwrap();
        assert_eq!((job.max_tokens, job.n, job.stream), (Some(5), 1, false));
    }

    #[test]
    fn wrong_fields_are_named() {
        let cases = [
            (r#","temperature":"hot""#, "temperature"),
            (r#","temperature":-1"#, "temperature"),
            (r#","top_p":0"#, "top_p"),
            (r#","n":0"#, "n"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","max_tokens":-3"#, "max_tokens"),
            (r#","logit_bias":{"x":1}"#, "logit_bias"),
            (r#","logit_bias":{"1":1000}"#, "logit_bias"),
            (r#","top_logprobs":3"#, "top_logprobs"),
            (r#","logprobs":true,"top_logprobs":50"#, "top_logprobs"),
            (r#","response_format":{"type":"xml"}"#, "response_format"),
            (
                r#","response_format":{"type":"json_schema"}"#,
                "response_format",
            ),
            (
                r#","prediction":{"type":"image","content":""}"#,
                "prediction",
            ),
            (r#","tool_choice":"required""#, "tool_choice"),
            (r#","stop":[1]"#, "stop"),
            (r#","stream":"yes""#, "stream"),
        ];
        for (extra, field) in cases {
            let (param, message) = refusal(chat(extra));
            assert_eq!(param, field, "{extra}: {message}");
        }
        let (param, _) = refusal(parse_chat(br#"{"model":"x"}"#));
        assert_eq!(param, "messages");
        let (param, _) = refusal(parse_chat(br#"{"messages":[{"role":"user"}]}"#));
        assert_eq!(param, "messages[0].content");
        let image = br#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
        assert_eq!(refusal(parse_chat(image)).0, "messages[0].content");
        for body in [&b"{"[..], b"[]", b"null", b"\xff", b""] {
            assert!(parse_chat(body).is_err() && parse_completion(body).is_err());
        }
    }

    #[test]
    fn prompts_come_in_four_ways() {
        let parse = |p: &str| parse_completion(format!(r#"{{"prompt":{p}}}"#).as_bytes()).unwrap();
        assert_eq!(parse(r#""a""#).prompts, [Prompt::Text("a".into())]);
        assert_eq!(parse("[1,2]").prompts, [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(parse(r#"["a","b"]"#).prompts.len(), 2);
        assert_eq!(parse("[[1],[2]]").prompts.len(), 2);
        assert_eq!(parse(r#""a""#).max_tokens, Some(16));
    }

    #[test]
    fn a_forced_tool_is_a_shape() {
        let tools = r#","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;
        let job = chat(&format!(r#"{tools},"tool_choice":"required""#)).unwrap();
        assert_eq!(
            job.shape,
            Some(Shape::Call(vec![("f".into(), json!({"type":"object"}))]))
        );
        let job = chat(&format!(r#"{tools},"tool_choice":"none""#)).unwrap();
        assert!(!job.tools && job.shape.is_none());
        let named = r#","tool_choice":{"type":"function","function":{"name":"g"}}"#;
        assert_eq!(refusal(chat(&format!("{tools}{named}"))).0, "tool_choice");
    }
}
