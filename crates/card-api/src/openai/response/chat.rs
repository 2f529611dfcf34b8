//! `/v1/chat/completions`: the whole answer, and the chunks of a stream.

use schemars::JsonSchema;
use serde::Serialize;

use super::logprobs::ChatLogprobs;
use super::report::{SpeculationReport, VerboseReport};
use super::tool_call::{FunctionCall, FunctionPiece, ToolCall, ToolCallPiece};
use super::usage::{FinishReason, Usage};
use crate::llama_server::response::Timings;

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
    /// What speculation brought, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<SpeculationReport>,
    /// Times and counts, as llama-server has them.
    pub timings: Timings,
    /// The prompt as the model read it, if that was asked for.
    #[serde(rename = "__verbose", skip_serializing_if = "Option::is_none")]
    pub verbose: Option<VerboseReport>,
}

/// An answer of a chat.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ChatChoice {
    /// Its number, from 0.
    pub index: usize,
    /// What the model says.
    pub message: AssistantMessage,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What the model thought of the tokens, if that was asked for.
    pub logprobs: Option<ChatLogprobs>,
}

/// What the model says.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ChatMessage")]
pub struct AssistantMessage {
    /// `assistant`.
    pub role: String,
    /// The text; null if there are calls only.
    pub content: Option<String>,
    /// Always null.
    pub refusal: Option<String>,
    /// What the model thought before it answered, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The calls of tools, if there are some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call, where the request had `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall>,
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
    /// What speculation brought, in the last chunk if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<SpeculationReport>,
    /// Times and counts, as llama-server has them: in the chunk that has the usage, and in all
    /// where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// The prompt as the model read it, if that was asked for: in the chunk with which the last answer
    /// ends.
    #[serde(rename = "__verbose", skip_serializing_if = "Option::is_none")]
    pub verbose: Option<VerboseReport>,
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
    /// More of what the model thinks before it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// More of calls of tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallPiece>,
    /// The call, where the request had `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionPiece>,
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
            card: None,
            timings: None,
            verbose: None,
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
}
