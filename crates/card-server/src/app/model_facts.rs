//! What clients hear of a model, while it is loaded and later.

use card_api::health::ExactnessAnswer;

use super::model_text::ModelText;

/// What clients hear of the model.
pub(crate) struct ModelFacts {
    /// The name in `/v1/models` and in answers.
    pub(crate) name: String,
    /// Tokens that a sequence may have.
    pub(crate) context: u32,
    /// What it runs on, if that is not what it seems.
    pub(crate) note: Option<String>,
    /// How close its text is to plain decoding's.
    pub(crate) exactness: ExactnessAnswer,
    /// The draft model that proposes for it, if one does.
    pub(crate) drafter: Option<String>,
    /// Names the build of the server and the vocabulary, `system_fingerprint` in answers.
    pub(crate) fingerprint: String,
}

/// What is known of a model, and stays known when it was unloaded.
#[derive(Clone, Debug)]
pub(crate) struct ModelSummary {
    /// Tokens that a sequence may have.
    pub(crate) context: u32,
    /// Tokens there are.
    pub(crate) vocabulary: usize,
    /// What it runs on, if that is not what it seems.
    pub(crate) note: Option<String>,
    /// How close its text is to plain decoding's.
    pub(crate) exactness: ExactnessAnswer,
    /// The draft model that proposes for it, if one does.
    pub(crate) drafter: Option<String>,
    /// Names the build of the server and the vocabulary.
    pub(crate) fingerprint: String,
    /// Whether it makes vectors of texts, and writes none.
    pub(crate) embeds: bool,
    /// Whether its chat template has a place for tools.
    pub(crate) tools: bool,
    /// Whether its chat template has a switch for thinking.
    pub(crate) thinking: bool,
    /// Whether it fills in the middle of a text.
    pub(crate) infill: bool,
}

impl ModelSummary {
    /// What is known of a model with this text; `embeds` says whether it makes vectors.
    pub(super) fn of(facts: &ModelFacts, text: &ModelText, embeds: bool) -> Self {
        let template = text.template.as_ref();
        ModelSummary {
            context: facts.context,
            vocabulary: text.tokenizer.len(),
            note: facts.note.clone(),
            exactness: facts.exactness.clone(),
            drafter: facts.drafter.clone(),
            fingerprint: facts.fingerprint.clone(),
            embeds,
            tools: template.is_some_and(|t| t.knows_tools()),
            thinking: template.is_some_and(|t| t.switches_thinking()),
            infill: text.fill.is_some(),
        }
    }

    /// What it does, by Ollama's words, the same as those of `/v1/models`.
    pub(crate) fn capabilities(&self) -> Vec<String> {
        let all = [
            ("completion", !self.embeds),
            ("embedding", self.embeds),
            ("tools", self.tools),
            ("thinking", self.thinking),
            ("insert", self.infill),
        ];
        let can = all.into_iter().filter(|(_, can)| *can);
        can.map(|(name, _)| name.to_owned()).collect()
    }
}
