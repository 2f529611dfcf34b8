//! Where the models of a server come from.

use card_api::openai::response::models::LoadStage;

use crate::served::ServedModel;

/// A model that a server can load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedModel {
    /// The name by which requests ask for it.
    pub name: String,
    /// Tokens of context, where that is known before it is loaded.
    pub context: Option<u32>,
    /// The draft model that proposes for it, where that is known before it is loaded.
    pub drafter: Option<String>,
}

/// The models of a server: which there are, and how one is loaded. A model is loaded and measured
/// on a thread that may wait.
pub trait ModelSource: Send + Sync {
    /// The models there are, at least one, each with a name of its own. It is asked once.
    fn list(&self) -> Vec<ListedModel>;

    /// The name of the model that is loaded at the start, and that answers requests which name
    /// none; `None` if requests have to name one.
    fn default_model(&self) -> Option<String>;

    /// Loads the model of this name.
    ///
    /// # Errors
    /// Says why it cannot be loaded, and what to do, for the operator.
    fn load(&self, name: &str) -> Result<ServedModel, String>;

    /// How far the model is that is being loaded: one at a time is. `None` if nobody knows.
    fn progress(&self) -> Option<LoadStage> {
        None
    }

    /// Whether the model of this name fits the memory that is free now. Where nobody knows, it
    /// does.
    fn fits(&self, name: &str) -> bool {
        let _ = name;
        true
    }
}
