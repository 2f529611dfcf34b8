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
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// `card`.
    pub owned_by: String,
    /// Its names, where the operator gave it some.
    pub aliases: Vec<String>,
    /// What it is good for, in the operator's words.
    pub tags: Vec<String>,
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
