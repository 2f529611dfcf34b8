//! What one generation runs on.

use std::sync::Arc;

use card_api::LlamaOptions;
use card_engine::Generate;
use serde_json::Value;
use tokio::sync::watch;

use super::scored::ScoredPrompt;
use super::watched::Watched;
use crate::clock::RequestDeadline;
use crate::grammar::Compiled;
use crate::grammar::budget::ThoughtBudget;

/// What one generation runs on.
pub(crate) struct GenerationTask {
    /// Who watches it. Its name is that of the request, and the number of the choice.
    pub(crate) watched: Watched,
    /// What the engine is asked for.
    pub(crate) generate: Generate,
    /// What the text has to be. A constraint is made of it when there is a slot to use it in.
    pub(crate) grammar: Option<Compiled>,
    /// Where in the request that stands, for errors of the grammar.
    pub(crate) shape_field: &'static str,
    /// How long the model may think, if there is a bound.
    pub(crate) budget: Option<ThoughtBudget>,
    /// Whether marks of thoughts and calls are shown that are control tokens: the text is read in
    /// the model's format.
    pub(crate) marks: bool,
    /// Most tokens of the answer that are shown.
    pub(crate) shown: usize,
    /// The prompt, where its own tokens get log probabilities.
    pub(crate) scored: Option<ScoredPrompt>,
    /// Texts that end it.
    pub(crate) stop: Arc<[String]>,
    /// How it is sampled, for the audit log.
    pub(crate) settings: Value,
    /// When it has to be over.
    pub(crate) deadline: RequestDeadline,
    /// Told, or dropped, once the prompt was read: other answers to the prompt can then share
    /// the KV cells of the prompt.
    pub(crate) prompt_read: Option<watch::Sender<bool>>,
    /// Waited for before the generation begins: the `prompt_read` of the first answer to the
    /// same prompt.
    pub(crate) after: Option<watch::Receiver<bool>>,
    /// What is told beside the text.
    pub(crate) report: LlamaOptions,
}
