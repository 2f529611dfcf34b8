//! Which sequences the next forward is for.

use std::collections::BTreeMap;

use super::config::SchedulerConfig;
use super::sequence::{Decision, Sequence};
use crate::types::SequenceId;

/// The sequences of the next forward.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Members {
    /// Their names; a sequence that reads its prompt comes last.
    pub(super) sequences: Vec<SequenceId>,
    /// The forward makes one decision again, by itself.
    pub(super) solo: bool,
    /// Every sequence gets a new decision, and candidates may join.
    pub(super) decides: bool,
}

impl Members {
    /// Chooses among the sequences that run. With `others_first`, those that decode come before
    /// a prompt that is read in a forward of its own.
    pub(super) fn choose(
        running: &BTreeMap<SequenceId, Sequence>,
        config: &SchedulerConfig,
        others_first: bool,
    ) -> Self {
        let shapes = config.shapes;
        // Sequences that must not share a forward are done one after the other, so that
        // the cells of each lie in order.
        let most = if shapes.alone { 1 } else { usize::MAX };
        let running = || running.iter().take(most);
        let first = |want: fn(&Sequence) -> bool| {
            let found = running().find(|(_, s)| want(s));
            found.map(|(&id, _)| id)
        };
        let decoding = || {
            let decoding = running().filter(|(_, s)| !s.text.prefilling());
            decoding.map(|(&id, _)| id)
        };
        let solo = first(|s| s.decision == Decision::Solo);
        // A prompt takes turns with the sequences that decode.
        let waits = shapes.prefill_alone && others_first && decoding().next().is_some();
        let prefill = first(|s| s.text.prefilling()).filter(|_| !waits);
        let sequences = match (solo, prefill) {
            (Some(id), _) => vec![id],
            (None, Some(id)) if shapes.prefill_alone => vec![id],
            // One sequence prefills at a time, so that the others are not held up for long.
            (None, Some(id)) => {
                let most = config.limits.rows.saturating_sub(1);
                decoding().take(most).chain([id]).collect()
            }
            (None, None) => decoding().collect(),
        };
        Members {
            sequences,
            solo: solo.is_some(),
            decides: solo.is_none() && prefill.is_none(),
        }
    }
}
