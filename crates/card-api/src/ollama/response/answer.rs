//! `/api/chat` and `/api/generate`: a whole answer, or a line of a stream.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The answer to a chat, or a line of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaChatAnswer {
    /// Name of the model.
    pub model: String,
    /// When this was written.
    pub created_at: String,
    /// What the model says; in a stream, what is new.
    pub message: OllamaAnswerMessage,
    /// Whether the answer is whole.
    pub done: bool,
    /// How it ended, where it is whole.
    #[serde(flatten)]
    pub end: OllamaEnd,
    /// What the model thought of the tokens, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<OllamaLogprob>>,
}

/// The answer to a prompt, or a line of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaGenerateAnswer {
    /// Name of the model.
    pub model: String,
    /// When this was written.
    pub created_at: String,
    /// The text; in a stream, what is new.
    pub response: String,
    /// What the model thought before it answered; in a stream, what is new.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub thinking: String,
    /// Whether the answer is whole.
    pub done: bool,
    /// How it ended, where it is whole.
    #[serde(flatten)]
    pub end: OllamaEnd,
    /// What the model thought of the tokens, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<OllamaLogprob>>,
}

/// What the model says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct OllamaAnswerMessage {
    /// `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
    /// What it thought before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub thinking: String,
    /// The tools that it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<OllamaToolCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaToolCall {
    /// Its name, for the answer to it.
    pub id: String,
    /// What is called.
    pub function: OllamaCalledFunction,
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaCalledFunction {
    /// The number of the call, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// How an answer ended, and what it took, in its last line only. Times are in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct OllamaEnd {
    /// `stop`, `length`, or `load` where nothing was generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<String>,
    /// From the request's first byte to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_duration: Option<u64>,
    /// From the request's first byte until it was read and prepared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_duration: Option<u64>,
    /// Tokens of the prompt, with those that were read before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_eval_count: Option<usize>,
    /// From then until the first text came, the wait for a slot included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_eval_duration: Option<u64>,
    /// Tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_count: Option<usize>,
    /// From the first text to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_duration: Option<u64>,
}

/// What the model thought of a token.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaLogprob {
    /// Its text; what is not UTF-8 is replaced.
    pub token: String,
    /// Natural logarithm of its probability; -9999 for what cannot be.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The most probable tokens, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_logprobs: Vec<OllamaTopLogprob>,
}

/// One of the most probable tokens.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaTopLogprob {
    /// Its text; what is not UTF-8 is replaced.
    pub token: String,
    /// Natural logarithm of its probability; -9999 for what cannot be.
    pub logprob: f64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_end_stands_in_the_last_line_only() {
        let line = |end: OllamaEnd| OllamaGenerateAnswer {
            model: "m".to_owned(),
            created_at: "t".to_owned(),
            response: "a".to_owned(),
            thinking: String::new(),
            done: end.done_reason.is_some(),
            end,
            logprobs: None,
        };
        let going_on = serde_json::to_value(line(OllamaEnd::default())).unwrap();
        let wanted = json!({ "model": "m", "created_at": "t", "response": "a", "done": false });
        assert_eq!(going_on, wanted);
        let end = OllamaEnd {
            done_reason: Some("stop".to_owned()),
            eval_count: Some(1),
            ..OllamaEnd::default()
        };
        let last = serde_json::to_value(line(end)).unwrap();
        assert_eq!(
            (&last["done"], &last["eval_count"]),
            (&json!(true), &json!(1))
        );
    }
}
