//! The head that drafts for a target, in the target's file or in one of its own: its contexts, and what
//! is said of it.

use std::time::Duration;

use card_core::forward::Model;
use card_llama::{
    Cores, HeadModel, HiddenStore, LlamaContext, LlamaError, LlamaModel, head_context,
};

use crate::contexts::{head_options, test_length};

/// A head that drafts. Cheap to clone.
#[derive(Clone)]
pub enum DraftingHead {
    /// The one in the file of this target.
    Own(LlamaModel),
    /// One in a file of its own.
    File(Box<HeadModel>),
}

impl DraftingHead {
    /// The model whose file has the head.
    pub fn model(&self) -> &LlamaModel {
        match self {
            DraftingHead::Own(target) => target,
            DraftingHead::File(head) => head.model(),
        }
    }

    /// The model of the head, if that has a file of its own.
    pub fn own_file(&self) -> Option<&LlamaModel> {
        match self {
            DraftingHead::Own(_) => None,
            DraftingHead::File(head) => Some(head.model()),
        }
    }

    /// What is said where the head drafts, alone or beside a draft model.
    pub fn told(&self, alone: bool) -> String {
        let which = match self {
            DraftingHead::Own(_) => "the head in the target's file".to_owned(),
            DraftingHead::File(head) => {
                let (kind, path) = (head.file().kind(), head.file().path());
                format!("the {kind} head in {}", path.display())
            }
        };
        if alone {
            format!(
                "drafting with {which}: it was trained to (--draft NAME for a draft model, --draft \
                 none for no drafter)"
            )
        } else {
            format!("drafting with {which} beside the draft model")
        }
    }

    /// Has a target's context keep the hidden states that the head reads. Returns where they are kept.
    ///
    /// # Errors
    /// If this build of llama.cpp gives none, or the context is another target's.
    pub fn keep(&self, target: &mut LlamaContext) -> Result<HiddenStore, LlamaError> {
        match self {
            DraftingHead::Own(_) => target.keep_states(),
            DraftingHead::File(head) => target.keep_layers(head),
        }
    }

    /// A context of the head for several sequences of full length. It reads the hidden states that the
    /// target's context keeps in `states`, and ends a forward that takes longer than `patience`.
    ///
    /// # Errors
    /// If llama.cpp cannot make it, for want of memory, say.
    pub fn contexts(
        &self,
        context: u32,
        sequences: u32,
        cores: &Cores,
        states: HiddenStore,
        patience: Option<Duration>,
    ) -> Result<Box<dyn Model + Send>, LlamaError> {
        let options = head_options(context, sequences, cores);
        let target = match self {
            DraftingHead::Own(target) => target,
            DraftingHead::File(head) => return head_context(head, &options, states, patience),
        };
        let mut made = LlamaContext::of_head(target, &options, states)?;
        if let Some(patience) = patience {
            made.give_up_after(patience);
        }
        Ok(Box::new(made))
    }

    /// A context for a self-test of the head by itself: it has no states to read, which takes as long.
    ///
    /// # Errors
    /// If llama.cpp cannot make it, for want of memory, say.
    pub fn test_context(&self, cores: &Cores) -> Result<Box<dyn Model + Send>, LlamaError> {
        let length = test_length(self.model());
        self.contexts(length, 2, cores, HiddenStore::none(), None)
    }
}
