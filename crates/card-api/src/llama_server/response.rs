//! Answers of llama-server's own routes, as the OpenAPI document describes them.
//!
//! The comments of these types are descriptions in the document, which clients read; they
//! are worded for clients.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The answer to a native completion or an infill, as a whole; in a stream the last event, whose
/// `content` and `tokens` are what the events before did not have.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NativeAnswer {
    /// Its number, from 0.
    pub index: usize,
    /// The text.
    pub content: String,
    /// The tokens, if they were asked for.
    pub tokens: Vec<u32>,
    /// The slot that was asked for, or -1.
    pub id_slot: i64,
    /// Always true.
    pub stop: bool,
    /// Name of the model.
    pub model: String,
    /// Tokens that were written.
    pub tokens_predicted: usize,
    /// Tokens of the prompt.
    pub tokens_evaluated: usize,
    /// The settings by which it was written.
    pub generation_settings: Map<String, Value>,
    /// The prompt as text.
    pub prompt: String,
    /// Whether there is a line break in the text.
    pub has_new_line: bool,
    /// Whether the context was full before the text came to its end.
    pub truncated: bool,
    /// `eos`, `word`, `limit` or `none`.
    pub stop_type: String,
    /// The text that ended it, or nothing.
    pub stopping_word: String,
    /// Tokens that stay in the cache.
    pub tokens_cached: usize,
    /// Times and counts.
    pub timings: Timings,
    /// Probabilities, if they were asked for; a stream has them in its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_probabilities: Option<Vec<Probability>>,
}

/// A piece of the answer to a native completion or an infill.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NativeChunk {
    /// The number of the answer, from 0.
    pub index: usize,
    /// What is new.
    pub content: String,
    /// The tokens it came from.
    pub tokens: Vec<u32>,
    /// Always false.
    pub stop: bool,
    /// The slot that was asked for, or -1.
    pub id_slot: i64,
    /// Tokens that were written so far.
    pub tokens_predicted: usize,
    /// Tokens of the prompt.
    pub tokens_evaluated: usize,
    /// Times and counts, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// How much of the prompt was read, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_progress: Option<PromptProgress>,
    /// Probabilities, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_probabilities: Option<Vec<Probability>>,
}

/// Times and counts of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Timings {
    /// Tokens of the prompt that an earlier request had read.
    pub cache_n: usize,
    /// Tokens of the prompt that were read.
    pub prompt_n: usize,
    /// Milliseconds that took.
    pub prompt_ms: f64,
    /// The same for each token.
    pub prompt_per_token_ms: f64,
    /// Tokens in a second.
    pub prompt_per_second: f64,
    /// Tokens that were written.
    pub predicted_n: usize,
    /// Milliseconds after the first of them.
    pub predicted_ms: f64,
    /// The same for each token after the first.
    pub predicted_per_token_ms: f64,
    /// Tokens after the first, in a second.
    pub predicted_per_second: f64,
    /// Candidates that were verified; absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_n: Option<usize>,
    /// Those of them that were right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_n_accepted: Option<usize>,
}

/// How much of a prompt was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct PromptProgress {
    /// Tokens of the prompt.
    pub total: usize,
    /// Those that an earlier request had read.
    pub cache: usize,
    /// Those that are read by now, with those of the cache. While other requests run beside it,
    /// this is an estimate until the last report.
    pub processed: usize,
    /// Milliseconds since the prompt was begun.
    pub time_ms: u64,
}

/// What the model thought of a token. The log probability is before the samplers; with
/// `post_sampling_probs` there are `prob` and `top_probs` in place of `logprob` and
/// `top_logprobs`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Probability {
    /// The token.
    pub id: u32,
    /// Its text; what is not UTF-8 is left out.
    pub token: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; -9999 for what cannot be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f64>,
    /// Its probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prob: Option<f64>,
    /// The most probable tokens, best first, before the samplers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<Vec<Map<String, Value>>>,
    /// The most probable tokens, best first, after the samplers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_probs: Option<Vec<Map<String, Value>>>,
}

/// What the server is and does.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Props {
    /// What holds where a request says nothing: `params`, and `n_ctx`, the tokens that a text
    /// may have.
    pub default_generation_settings: Map<String, Value>,
    /// Generations at a time.
    pub total_slots: usize,
    /// Name of the model.
    pub model_alias: String,
    /// Where the model came from.
    pub model_path: String,
    /// What the model reads beside text: nothing.
    pub modalities: Modalities,
    /// Whether `/slots` lists slots.
    pub endpoint_slots: bool,
    /// Whether `/props` can be changed: false.
    pub endpoint_props: bool,
    /// Whether there is `/metrics`.
    pub endpoint_metrics: bool,
    /// The model's chat template, if it has one and it is known.
    pub chat_template: String,
    /// The token that begins a text, or nothing.
    pub bos_token: String,
    /// The token that ends a text.
    pub eos_token: String,
    /// Which build this is.
    pub build_info: String,
    /// Always false.
    pub is_sleeping: bool,
}

/// What a model reads beside text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Modalities {
    /// Images.
    pub vision: bool,
    /// Videos.
    pub video: bool,
    /// Sound.
    pub audio: bool,
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Slot {
    /// Its number, from 0.
    pub id: usize,
    /// Tokens that a text may have.
    pub n_ctx: u32,
    /// Whether draft models are at work.
    pub speculative: bool,
    /// Whether a generation is in it.
    pub is_processing: bool,
}

/// A conversation as the model reads it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AppliedTemplate {
    /// The text.
    pub prompt: String,
}

/// How many tokens a conversation has.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct InputTokens {
    /// Tokens.
    pub input_tokens: usize,
    /// `response.input_tokens`.
    pub object: String,
}
