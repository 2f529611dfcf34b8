//! `/v1/responses`: the answer as the OpenAPI document describes it. The server writes it from
//! the same names.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::report::SpeculationReport;

/// The answer to a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Response")]
pub struct ResponseAnswer {
    /// Name of the response.
    pub id: String,
    /// `response`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970, once it is over.
    pub completed_at: Option<u64>,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub status: String,
    /// Name of the model.
    pub model: String,
    /// Thoughts, messages and calls, in the order in which they were written.
    pub output: Vec<OutputItem>,
    /// Why it failed, if it did.
    pub error: Option<ResponseFailure>,
    /// Why it is incomplete, if it is.
    pub incomplete_details: Option<IncompleteDetails>,
    /// Tokens that were read and written, once it is over.
    pub usage: Option<ResponseUsage>,
    /// What speculation brought, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<SpeculationReport>,
    /// What the request said.
    #[serde(flatten)]
    pub said: Map<String, Value>,
}

/// What a response is made of.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// Text for the reader.
    Message {
        /// Name of the item.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: String,
        /// `assistant`.
        role: String,
        /// Its parts.
        content: Vec<OutputText>,
    },
    /// A call of a function.
    FunctionCall {
        /// Name of the item.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: String,
        /// Name of the call, for what it gives.
        call_id: String,
        /// What is called.
        name: String,
        /// Its arguments, JSON as text.
        arguments: String,
        /// The namespace in which the function stands, if it does in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
    /// What the model thought.
    Reasoning {
        /// Name of the item.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: String,
        /// Always empty: thoughts are told in full.
        summary: Vec<String>,
        /// The thoughts.
        content: Vec<ReasoningText>,
        /// Always null.
        encrypted_content: Option<String>,
    },
}

/// Text of a message.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OutputText {
    /// `output_text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: String,
    /// Always empty.
    pub annotations: Vec<String>,
    /// What the model thought of the tokens, if that was asked for.
    pub logprobs: Vec<super::logprobs::TokenLogprob>,
}

/// Text of a thought.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ReasoningText {
    /// `reasoning_text`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    pub text: String,
}

/// Why a response failed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ResponseFailure {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct IncompleteDetails {
    /// `max_output_tokens`.
    pub reason: String,
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct ResponseUsage {
    /// Of the conversation.
    pub input_tokens: usize,
    /// More about the conversation.
    pub input_tokens_details: InputDetails,
    /// Of the answer.
    pub output_tokens: usize,
    /// More about the answer.
    pub output_tokens_details: OutputDetails,
    /// Both.
    pub total_tokens: usize,
}

/// More about what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct InputDetails {
    /// Tokens that earlier requests had read.
    pub cached_tokens: usize,
    /// Always 0.
    pub cache_write_tokens: usize,
}

/// More about what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct OutputDetails {
    /// Tokens of thoughts.
    pub reasoning_tokens: usize,
}

/// An event of a stream. Which other fields it has, its type says: `response` where a response
/// begins or ends; `item`, `part`, `delta`, `text` or `arguments` with `item_id`,
/// `output_index` and `content_index` where something of it is written.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ResponseEvent {
    /// Like `response.output_text.delta`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The number of the event, from 0.
    pub sequence_number: u64,
    /// What the type says.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}
