//! `context_management`: what to forget of a conversation before it is answered.

use crate::error::ApiError;
use crate::reading::bounded::{Bounded, Name};
use crate::reading::fields::fields;
use crate::reading::strict::{Anything, Noted};

/// Most edits.
const EDITS: usize = 64;
/// Forgets thoughts of earlier turns. The model's chat template decides which of them it keeps.
const CLEAR_THINKING: &str = "clear_thinking_20251015";

fields! {
    /// What to forget of a conversation.
    struct ContextParam {
        /// Edits of type `clear_thinking_20251015`, which are without effect: of earlier
        /// thoughts the model's chat template keeps what it keeps. Others are not supported.
        "edits" => edits: Bounded<Noted<EditParam>, EDITS>,
    }

    /// Something to forget.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct EditParam {
        /// Its type.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// Without effect.
        "keep" => keep: Anything,
    }
}

impl ContextParam {
    /// Whether nothing has to be forgotten that is not forgotten anyway.
    ///
    /// # Errors
    /// Names the edit that is not supported.
    pub(super) fn check(self) -> Result<(), ApiError> {
        let edits = self.edits.map(|edits| edits.0).unwrap_or_default();
        for (i, edit) in edits.into_iter().enumerate() {
            let kind = edit.fields.kind.map(|kind| kind.0).unwrap_or_default();
            if kind != CLEAR_THINKING {
                let why = format!(
                    "{kind:?} is not supported: nothing is taken out of a conversation; leave \
                     the edit out"
                );
                let path = format!("context_management.edits[{i}].type");
                return Err(ApiError::field(path, why));
            }
        }
        Ok(())
    }
}
