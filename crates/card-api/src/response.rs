//! Answers as clients get them: what the server serialises and the OpenAPI document describes.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// What every error says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ErrorAnswer {
    /// The error.
    pub error: ErrorObject,
}

/// An error.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ErrorObject {
    /// For people.
    pub message: String,
    /// The kind of error, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path of the field that is wrong, like `messages[3].content`.
    pub param: Option<String>,
    /// A finer kind, for programs.
    pub code: Option<String>,
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Usage {
    /// Of the prompts.
    pub prompt_tokens: usize,
    /// Of all answers.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// More about the prompts.
    pub prompt_tokens_details: PromptDetails,
    /// More about the answers.
    pub completion_tokens_details: CompletionDetails,
}

/// More about prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PromptDetails {
    /// Tokens that earlier requests had read.
    pub cached_tokens: usize,
}

/// More about answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CompletionDetails {
    /// Tokens of the prediction that came true.
    pub accepted_prediction_tokens: usize,
    /// Tokens of the prediction that were verified and did not.
    pub rejected_prediction_tokens: usize,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model or a stop text ended it.
    Stop,
    /// There was no more room for it.
    Length,
    /// It calls tools.
    ToolCalls,
}

/// The answer to a chat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatCompletion {
    /// Name of the request.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Name of the model.
    pub model: String,
    /// Which build and weights wrote it.
    pub system_fingerprint: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// Tokens that were read and written.
    pub usage: Usage,
}

/// An answer of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatChoice {
    /// Its number, from 0.
    pub index: usize,
    /// What the model says.
    pub message: ChatMessage,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What the model thought of the tokens, if that was asked for.
    pub logprobs: Option<ChatLogprobs>,
}

/// What the model says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatMessage {
    /// `assistant`.
    pub role: String,
    /// The text; null if there are calls only.
    pub content: Option<String>,
    /// Always null.
    pub refusal: Option<String>,
    /// The calls of tools, if there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ToolCall {
    /// Its name, for the answer to it.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
    /// Its number, in streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
}

impl ToolCall {
    /// A call of the function `name`; `index` in streams only.
    pub fn new(id: String, index: Option<usize>, name: &str, arguments: &str) -> Self {
        ToolCall {
            id,
            kind: "function".to_owned(),
            function: FunctionCall {
                name: name.to_owned(),
                arguments: arguments.to_owned(),
            },
            index,
        }
    }
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// Its arguments, JSON as text.
    pub arguments: String,
}

/// What the model thought of the tokens of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatLogprobs {
    /// Token by token.
    pub content: Vec<TokenLogprob>,
    /// Always null.
    pub refusal: Option<Vec<TokenLogprob>>,
}

/// What the model thought of a token.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TokenLogprob {
    /// Its text; what is not UTF-8 is replaced.
    pub token: String,
    /// Natural logarithm of its probability; -9999 for what cannot be.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The most probable tokens, best first.
    pub top_logprobs: Vec<TopLogprob>,
}

/// One of the most probable tokens.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TopLogprob {
    /// Its text; what is not UTF-8 is replaced.
    pub token: String,
    /// Natural logarithm of its probability; -9999 for what cannot be.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The logarithm of a probability as JSON can have it: OpenAI's -9999 is for what cannot be.
pub fn logprob(log: f32) -> f64 {
    // NaN gives -9999 too.
    f64::from(log.max(-9999.0))
}

/// A piece of the answer to a chat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatChunk {
    /// Name of the request.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Name of the model.
    pub model: String,
    /// Which build and weights wrote it.
    pub system_fingerprint: String,
    /// Pieces of answers; none in the last chunk if usage was asked for.
    pub choices: Vec<ChatPiece>,
    /// If it was asked for: null, and the usage in the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// A piece of an answer of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatPiece {
    /// Number of the answer, from 0.
    pub index: usize,
    /// What is new.
    pub delta: Delta,
    /// Why it ended, in the last piece.
    pub finish_reason: Option<FinishReason>,
    /// What the model thought of the tokens, if that was asked for.
    pub logprobs: Option<ChatLogprobs>,
}

/// What is new in an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Delta {
    /// `assistant`, in the first piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// More text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// More calls of tools, each whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// The answer to a completion.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TextCompletion {
    /// Name of the request.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Name of the model.
    pub model: String,
    /// Which build and weights wrote it.
    pub system_fingerprint: String,
    /// The answers, prompt by prompt.
    pub choices: Vec<TextChoice>,
    /// Tokens that were read and written.
    pub usage: Usage,
}

/// A piece of the answer to a completion.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TextChunk {
    /// Name of the request.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Name of the model.
    pub model: String,
    /// Which build and weights wrote it.
    pub system_fingerprint: String,
    /// Pieces of answers; none in the last chunk if usage was asked for.
    pub choices: Vec<TextPiece>,
    /// If it was asked for: null, and the usage in the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// An answer of a completion.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TextChoice {
    /// Its number, from 0.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What the model thought of the tokens, if that was asked for.
    pub logprobs: Option<TextLogprobs>,
}

/// A piece of an answer of a completion.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TextPiece {
    /// Number of the answer, from 0.
    pub index: usize,
    /// What is new.
    pub text: String,
    /// Why it ended, in the last piece.
    pub finish_reason: Option<FinishReason>,
    /// What the model thought of the tokens, if that was asked for.
    pub logprobs: Option<TextLogprobs>,
}

/// What the model thought of the tokens of a completion: lists of the same length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TextLogprobs {
    /// Their texts.
    pub tokens: Vec<String>,
    /// Natural logarithms of their probabilities.
    pub token_logprobs: Vec<f64>,
    /// Where they begin, in characters.
    pub text_offset: Vec<usize>,
    /// For each the most probable tokens, with the logarithms of theirs.
    pub top_logprobs: Vec<TopByText>,
}

/// Tokens by their texts, with the logarithms of their probabilities, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct TopByText(
    #[schemars(with = "std::collections::BTreeMap<String, f64>")] pub Map<String, Value>,
);

impl FromIterator<(String, f64)> for TopByText {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        TopByText(pairs.map(|(token, log)| (token, log.into())).collect())
    }
}

/// The models there are.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Models {
    /// `list`.
    pub object: String,
    /// One by one.
    pub data: Vec<Model>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: String,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// `card`.
    pub owned_by: String,
    /// More about it.
    pub meta: ModelMeta,
}

/// More about a model.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ModelMeta {
    /// Tokens a text may have, prompt included.
    pub context: u32,
    /// Tokens there are.
    pub vocabulary: usize,
    /// What it runs on, if that is not what it seems.
    pub note: Option<String>,
}

/// A text in tokens.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Tokenized {
    /// Their numbers.
    pub tokens: Vec<u32>,
    /// How many.
    pub count: usize,
    /// How many a text may have.
    pub max_model_len: u32,
}

/// The text of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Detokenized {
    /// The text, in llama.cpp's word.
    pub content: String,
    /// The same, in vLLM's word.
    pub prompt: String,
}

/// How the server is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Health {
    /// `ok`, or why it takes no requests.
    pub status: String,
    /// Generations at work.
    pub running: usize,
    /// Requests in the line.
    pub waiting: usize,
    /// Draft models at work.
    pub drafters: usize,
    /// How close the text is to plain decoding's.
    pub exactness: Exactness,
}

/// How close the text is to plain decoding's, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Exactness {
    /// `exact`, or `fast`, which promises nothing about near-ties.
    pub level: String,
    /// `any-shape`, `one-class` or `near-ties` (docs/exactness.md); `null` where nothing is
    /// promised.
    pub means: Option<String>,
    /// Whose matrix kernels compute, like `own kernels, AVX-512 VNNI`.
    pub kernels: String,
    /// All of that in a sentence.
    pub words: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn chunks_say_usage_only_if_it_was_asked_for() {
        let chunk = |usage| ChatChunk {
            id: "chatcmpl-1".into(),
            object: "chat.completion.chunk".into(),
            created: 1,
            model: "m".into(),
            system_fingerprint: "f".into(),
            choices: vec![ChatPiece {
                index: 0,
                delta: Delta::default(),
                finish_reason: Some(FinishReason::ToolCalls),
                logprobs: None,
            }],
            usage,
        };
        let plain = to_value(chunk(None)).unwrap();
        assert_eq!(
            plain,
            json!({
                "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "system_fingerprint": "f",
                "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls",
                              "logprobs": null }],
            })
        );
        let asked = to_value(chunk(Some(None))).unwrap();
        assert!(asked["usage"].is_null() && asked.get("usage").is_some());
        let last = to_value(chunk(Some(Some(Usage::default())))).unwrap();
        assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    }

    #[test]
    fn the_most_probable_tokens_stay_in_order() {
        let top: TopByText = [("b".to_owned(), -0.5), ("a".to_owned(), -2.0)]
            .into_iter()
            .collect();
        assert_eq!(
            serde_json::to_string(&top).unwrap(),
            r#"{"b":-0.5,"a":-2.0}"#
        );
        assert_eq!(logprob(f32::NEG_INFINITY), -9999.0);
        assert_eq!(logprob(f32::NAN), -9999.0);
    }
}
