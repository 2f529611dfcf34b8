//! A model that is served: an engine, and what belongs to its model.

use std::sync::Arc;

use card_api::health::ExactnessAnswer;
use card_core::scheduler::Learned;
use card_engine::Engine;

use crate::config::DefaultSampling;
use crate::text::{Embedder, Template, Tokenizer};

/// Keeps what an engine learned for the next run.
pub type KeepLearned = Arc<dyn Fn(&Learned) + Send + Sync>;

/// A model that is served. When it is unloaded, all of this is dropped.
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
    /// The draft model that proposes for it, if one does.
    pub drafter: Option<String>,
    /// How to sample where a request does not say; `None` for what the server's settings say.
    pub sampling: Option<DefaultSampling>,
    /// Is given what the engine learned, now and then and at the end.
    pub keep: KeepLearned,
    /// What makes vectors of texts. A server that has it writes no text: its engine is that of
    /// [`engine_without_text`](crate::engine_without_text), or one that nobody may ask.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// The name of its file, for `/props`; `None` if that is nobody's business.
    pub file: Option<String>,
}
