//! Catching up: decoding what was committed and is not in the draft model's stem.

use super::config::DrafterConfig;
use super::sequence::DraftSequence;
use super::step::{CaughtUp, DraftStep};
use crate::forward::{CellNames, push_text};
use crate::types::SequenceId;

/// Adds rows for committed tokens that are not decoded yet, as many as fit one forward. If a
/// sequence's last token is among them, its logits are looked past.
pub(super) fn catch_up<'a>(
    sequences: impl Iterator<Item = (&'a SequenceId, &'a DraftSequence)>,
    config: &DrafterConfig,
    names: &mut CellNames,
    step: &mut DraftStep,
) {
    for (&sequence, draft) in sequences {
        if draft.rooted || !draft.is_wanted(config) || !draft.fits(config) {
            continue;
        }
        let room = config.limits.rows.saturating_sub(step.rows.len());
        let count = draft.pending().min(room);
        let end = draft.decoded + count;
        let (tokens, range) = (&draft.tokens, draft.decoded..end);
        if let Some(tip) = push_text(&mut step.rows, names, sequence, tokens, range) {
            if end == tokens.len() {
                step.expand_last(sequence, draft.replica.root());
            }
            step.caught_up.push(CaughtUp {
                sequence,
                tip,
                count,
            });
        }
    }
}
