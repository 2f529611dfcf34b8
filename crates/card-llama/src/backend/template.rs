//! The chat template that a model's file has.

use super::model::LlamaModel;
use crate::chat::{ChatError, ChatTemplate};

impl ChatTemplate {
    /// The template of a model.
    ///
    /// # Errors
    /// If the file has none, or one that does not parse.
    pub fn of(model: &LlamaModel) -> Result<Self, ChatError> {
        let vocab = model.vocab();
        let source = model.template().ok_or(ChatError::None)?;
        Self::new(source, vocab.bos_text(), vocab.eos_text())
    }
}
