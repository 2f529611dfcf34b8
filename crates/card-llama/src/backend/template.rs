//! The chat template that a model's file has, or one for a model from elsewhere.

use super::model::LlamaModel;
use crate::chat::{ChatError, ChatTemplate};

/// What the metadata of a file call the template for conversations with tools.
const TOOL_USE: &str = "tokenizer.chat_template.tool_use";

impl ChatTemplate {
    /// The template of a model; [`ChatTemplate::check`] tries it.
    ///
    /// # Errors
    /// [`ChatError::None`] if the file has none, [`ChatError::Broken`] if it has one that does not
    /// parse.
    pub fn of(model: &LlamaModel) -> Result<Self, ChatError> {
        let file = model.path().display();
        let source = model.template().ok_or(ChatError::None)?;
        let from = format!("tokenizer.chat_template of {file}");
        let vocab = model.vocab();
        let mut template = Self::new(&source, &from, vocab.bos_text(), vocab.eos_text())?;
        if let Some(source) = model.meta(TOOL_USE) {
            template = template.with_tool_use(&source, &format!("{TOOL_USE} of {file}"))?;
        }
        Ok(template)
    }

    /// A template of the user's own for a model, in place of its file's.
    ///
    /// # Errors
    /// [`ChatError::Broken`] if it does not parse.
    pub fn for_model(model: &LlamaModel, source: &str, from: &str) -> Result<Self, ChatError> {
        let vocab = model.vocab();
        Self::new(source, from, vocab.bos_text(), vocab.eos_text())
    }
}
