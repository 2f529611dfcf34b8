//! `/v1/models`: which models there are.

use schemars::JsonSchema;
use serde::Serialize;

/// The models there are.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Models {
    /// `list`.
    pub object: String,
    /// One by one.
    pub data: Vec<ModelEntry>,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Model")]
pub struct ModelEntry {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: String,
    /// When the server started, in seconds since 1970.
    pub created: u64,
    /// `card`.
    pub owned_by: String,
    /// Its names, where the operator gave it some.
    pub aliases: Vec<String>,
    /// What it is good for, in the operator's words.
    pub tags: Vec<String>,
    /// Whether it is loaded.
    pub status: ModelStatus,
    /// What it does: `completion`, and `tools`, `thinking` and `insert` (in the middle) where it knows them;
    /// `null` until it was loaded for the first time.
    pub capabilities: Option<Vec<String>>,
    /// More about it.
    pub meta: ModelMeta,
}

/// Whether a model is loaded, in the form of llama-server's router.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ModelStatus {
    /// `unloaded`, `loading` or `loaded`. A model that is not loaded is loaded when a request
    /// names it.
    pub value: String,
    /// Whether it could not be loaded the last time.
    pub failed: bool,
    /// How far it is, while a file of it is being loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<LoadStage>,
}

/// A file of a model that is being loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LoadStage {
    /// What is in it: `target`, `draft`, `head`, or `model` where there is one only.
    pub what: String,
    /// The part of it that is loaded, in per cent.
    pub percent: u8,
}

/// More about a model. What is not known until it was loaded for the first time is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ModelMeta {
    /// Tokens a text may have, prompt included.
    pub context: Option<u32>,
    /// Tokens there are.
    pub vocabulary: Option<usize>,
    /// What it runs on, if that is not what it seems.
    pub note: Option<String>,
    /// The draft model that proposes for it, if one does.
    pub drafter: Option<String>,
    /// Whether it answers requests that name no model.
    pub default: bool,
}
