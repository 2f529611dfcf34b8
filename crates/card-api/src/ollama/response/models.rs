//! `/api/version`, `/api/tags`, `/api/ps` and `/api/show`: what is spoken and which models there
//! are.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The version of Ollama whose API is spoken.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaVersion {
    /// Ollama's version.
    pub version: String,
    /// The version of this server.
    pub card: String,
}

/// The models there are.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaTags {
    /// One by one.
    pub models: Vec<OllamaTag>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaTag {
    /// Its name.
    pub name: String,
    /// The same.
    pub model: String,
    /// When the server started.
    pub modified_at: String,
    /// Always 0: the size of its file is not known here.
    pub size: u64,
    /// Another one for another name, vocabulary or build.
    pub digest: String,
    /// More about it.
    pub details: OllamaDetails,
}

/// More about a model; what is not known here is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct OllamaDetails {
    /// The model it was made from.
    pub parent_model: String,
    /// `gguf`.
    pub format: String,
    /// Its family.
    pub family: String,
    /// Its families.
    pub families: Vec<String>,
    /// How many parameters it has.
    pub parameter_size: String,
    /// How they are kept.
    pub quantization_level: String,
}

/// The models that are loaded.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaRunning {
    /// One by one.
    pub models: Vec<OllamaRunningModel>,
}

/// A model that is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaRunningModel {
    /// Its name.
    pub name: String,
    /// The same.
    pub model: String,
    /// Always 0: its size is not known here.
    pub size: u64,
    /// As in `/api/tags`.
    pub digest: String,
    /// More about it.
    pub details: OllamaDetails,
    /// When it is unloaded if nobody uses it. A server of one model keeps it as long as it runs.
    pub expires_at: String,
    /// Always 0: its size is not known here.
    pub size_vram: u64,
    /// Tokens a text may have, prompt included.
    pub context_length: u32,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OllamaShow {
    /// Always empty.
    pub modelfile: String,
    /// Always empty: the defaults are Ollama's.
    pub parameters: String,
    /// Always empty: the chat template is the model's own, and not in Ollama's language.
    pub template: String,
    /// More about it.
    pub details: OllamaDetails,
    /// What is known of it.
    pub model_info: Map<String, Value>,
    /// `completion`, and `tools`, `thinking` and `insert` (in the middle) where it knows them.
    pub capabilities: Vec<String>,
    /// When the server started.
    pub modified_at: String,
}
