//! `/v1/completions`: the whole answer, and the chunks of a stream.

use schemars::JsonSchema;
use serde::Serialize;

use super::logprobs::TextLogprobs;
use super::report::{SpeculationReport, VerboseReport};
use super::usage::{FinishReason, Usage};
use crate::llama_server::response::Timings;

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
    /// What speculation brought, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<SpeculationReport>,
    /// Times and counts, as llama-server has them.
    pub timings: Timings,
    /// The prompt as the model read it, if the server tells it.
    #[serde(rename = "__verbose", skip_serializing_if = "Option::is_none")]
    pub verbose: Option<VerboseReport>,
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
    /// What speculation brought, in the last chunk if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub card: Option<SpeculationReport>,
    /// Times and counts, as llama-server has them: in the chunk that has the usage, and in all
    /// where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// The prompt as the model read it, if the server tells it: in the chunk with which the last answer
    /// ends.
    #[serde(rename = "__verbose", skip_serializing_if = "Option::is_none")]
    pub verbose: Option<VerboseReport>,
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
