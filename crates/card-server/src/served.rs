//! What a server serves: an engine, and what belongs to its model.

use std::sync::Arc;

use card_api::health::ExactnessAnswer;
use card_engine::Engine;

use crate::text::{Embedder, Template, Tokenizer};

/// A model that is served.
pub struct ServedModel {
    /// The engine that runs the model; it has to trace rounds, for the page and the audit log.
    pub engine: Arc<Engine>,
    /// The model's vocabulary.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// The model's chat template, if it has one.
    pub template: Option<Arc<dyn Template>>,
    /// The model's name in `/v1/models` and in answers.
    pub name: String,
    /// Tokens that a sequence may have.
    pub context: u32,
    /// What the model runs on, for the page, which says where devices are emulated.
    pub note: Option<String>,
    /// How close the model's text is to plain decoding's.
    pub exactness: ExactnessAnswer,
    /// What makes vectors of texts. A server that has it writes no text: its engine is that of
    /// [`engine_without_text`](crate::engine_without_text), or one that nobody may ask.
    pub embedder: Option<Arc<dyn Embedder>>,
}
