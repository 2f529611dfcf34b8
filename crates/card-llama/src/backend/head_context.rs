//! The context of a head in a file of its own, whichever kind it is.

use std::time::Duration;

use card_core::forward::Model;

use super::block_head::BlockContext;
use super::context::LlamaContext;
use super::context_options::ContextOptions;
use super::head_model::HeadModel;
use super::hidden_store::HiddenStore;
use crate::error::LlamaError;
use crate::sys::head_file::HeadFileKind;

/// A context of a head, warmed up. It drafts for a target context that keeps the states of the layers
/// it reads in `states` ([`LlamaContext::keep_layers`]). A forward that takes longer than `patience`
/// ends as a failure.
///
/// # Errors
/// If there is no memory, or a forward of so many rows cannot be.
pub fn head_context(
    head: &HeadModel,
    options: &ContextOptions,
    states: HiddenStore,
    patience: Option<Duration>,
) -> Result<Box<dyn Model + Send>, LlamaError> {
    if head.file().kind() == HeadFileKind::Block {
        let mut context = BlockContext::new(head, options, states)?;
        if let Some(patience) = patience {
            context.give_up_after(patience);
        }
        return Ok(Box::new(context));
    }
    let mut context = LlamaContext::of_head_file(head, options, states)?;
    if let Some(patience) = patience {
        context.give_up_after(patience);
    }
    Ok(Box::new(context))
}
