//! Places for leaves in the draft model's KV cache ([`Limits::leaves`]).
//!
//! Each sequence may have an equal share of them. Where sequences begin while another one has grown a
//! tree, that tree may be larger than its share is now, and no leaf of it goes before the next commit.
//! So what is free bounds a sequence too: all trees together never have more leaves than there are
//! places for, but for one chain of each sequence, which needs none.
//!
//! [`Limits::leaves`]: crate::forward::Limits::leaves

use std::collections::BTreeMap;

use super::config::DrafterConfig;
use super::sequence::DraftSequence;
use crate::types::SequenceId;

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafRoom {
    /// Each sequence's share.
    each: usize,
    /// Places that no sequence has.
    free: usize,
    /// Places that a sequence has in any case: its first chain goes on where its text ends, and takes
    /// no place from others where the model's state goes back freely.
    least: usize,
}

impl LeafRoom {
    /// The places of a drafter with these sequences.
    pub(super) fn of(
        config: &DrafterConfig,
        sequences: &BTreeMap<SequenceId, DraftSequence>,
    ) -> Self {
        let taken: usize = sequences.values().map(|d| d.places(config)).sum();
        LeafRoom {
            each: config.limits.leaves_each(sequences.len()),
            free: config.limits.leaves.saturating_sub(taken),
            least: usize::from(config.limits.rollback.is_free()),
        }
    }

    /// Places that a sequence may have which has `own` of them.
    pub(super) fn most(self, own: usize) -> usize {
        let free = self.each.min(own.saturating_add(self.free));
        free.max(self.least)
    }

    /// A sequence took a place.
    pub(super) fn take(&mut self) {
        self.free = self.free.saturating_sub(1);
    }
}
