//! When the state behind a stem is saved, of a target that has one state per sequence.
//!
//! A state is saved where texts are likely to part: at places in a prompt (`marks`), at its end, and
//! at the end of an answer. Saving takes time, and so does putting a state back. Both are measured,
//! and a state is saved only if reading the tokens again, which it spares, takes longer.

use std::time::Duration;

use super::state::Scheduler;
use crate::forward::KvOp;
use crate::policy::Observation;
use crate::saved_states::SavedStateCounts;
use crate::types::SequenceId;

/// Saved states.
impl Scheduler {
    /// Says how many bytes the state behind a stem takes when it is saved
    /// ([`Model::state_bytes`](crate::forward::Model::state_bytes)); `None`, as at first, if the
    /// target saves none.
    pub fn set_state_bytes(&mut self, each: Option<usize>) {
        self.prefixes.set_state_bytes(each);
    }

    /// Says how many bytes all saved states together may take; 0 for none.
    pub fn set_state_room(&mut self, bytes: usize) {
        self.prefixes.saved.set_room(bytes);
    }

    /// What became of saved states.
    pub fn saved_states(&self) -> SavedStateCounts {
        self.prefixes.saved.counts()
    }

    /// Takes over what saving states was seen to cost.
    pub(super) fn weigh_states(&mut self) {
        let rows = self.config.prefill_rows.max(1);
        let token_ms = self.policy.target_cost().ms(rows as u32) / rows as f64;
        let least = self.policy.state_cost().least_tokens(token_ms);
        self.prefixes.saved.set_least(least);
    }

    /// Saves the state behind the stem of a sequence, if that spares enough.
    pub(super) fn save_state(&mut self, sequence: SequenceId) {
        self.weigh_states();
        let Some(seq) = self.sequences.get_mut(&sequence) else {
            return;
        };
        let text = &mut seq.text;
        if !self.prefixes.saved.pays(text.unsaved()) {
            return;
        }
        text.saved = text.decoded;
        let stem = &text.tokens[..text.decoded];
        let ops = &mut self.ops;
        self.prefixes.saved.save(sequence, seq.tenant, stem, ops);
    }

    /// A change of the KV cache was carried out in this time, after [`Scheduler::take_ops`] gave it.
    /// Of a target that cannot take back any token, what that takes is learned.
    pub fn applied(&mut self, op: KvOp, elapsed: Duration) {
        if self.config.limits.rollback.is_free() {
            return;
        }
        self.state_changes.spend(elapsed);
        let observation = match op {
            KvOp::Save { .. } => Observation::StateSaved { elapsed },
            KvOp::Resume { .. } => Observation::StateResumed { elapsed },
            KvOp::Commit { sequence, .. } | KvOp::Prune { sequence }
                if self.state_changes.take_rejected(sequence) =>
            {
                Observation::TakenBack { elapsed }
            }
            _ => return,
        };
        self.policy.observe(observation);
    }
}
