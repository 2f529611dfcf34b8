//! Vectors of texts, as Ollama tells them.

use schemars::JsonSchema;
use serde::Serialize;

/// The answer of `/api/embed`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaEmbed {
    /// The model's name, as the client gave it.
    pub model: String,
    /// A vector for each text, in their order, each of length 1.
    pub embeddings: Vec<Vec<f32>>,
    /// Nanoseconds that the answer took.
    pub total_duration: u64,
    /// Always 0: the model is loaded before.
    pub load_duration: u64,
    /// Tokens that were read.
    pub prompt_eval_count: usize,
}

/// The answer of `/api/embeddings`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaEmbedding {
    /// The vector, of length 1.
    pub embedding: Vec<f32>,
}
