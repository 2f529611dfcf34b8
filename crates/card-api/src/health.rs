//! `/health`: whether the server takes requests, and how close its text is to plain decoding's.
//!
//! The comments of these types are descriptions in the OpenAPI document.

use schemars::JsonSchema;
use serde::Serialize;

/// How the server is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub struct HealthAnswer {
    /// `ok`, or why it takes no requests.
    pub status: String,
    /// Generations at work.
    pub running: usize,
    /// Requests in the line.
    pub waiting: usize,
    /// Draft models at work.
    pub drafters: usize,
    /// How close the text is to plain decoding's: that of the default model, else of the first one
    /// that is loaded; `null` where no model was loaded yet.
    pub exactness: Option<ExactnessAnswer>,
}

/// How close the text is to plain decoding's, and by what.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Exactness")]
pub struct ExactnessAnswer {
    /// `exact`, or `fast`, which promises nothing about near-ties.
    pub level: String,
    /// `any-shape`, `one-class`, `near-ties` or `plain-only` (docs/exactness.md); `null` where nothing is
    /// promised.
    pub means: Option<String>,
    /// Whose matrix kernels compute, like `own kernels, AVX-512 VNNI`.
    pub kernels: String,
    /// All of that in a sentence.
    pub words: String,
}
