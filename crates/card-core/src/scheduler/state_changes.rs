//! How long changes of the target's state take, between two forwards.

use std::collections::HashSet;
use std::time::Duration;

use crate::types::SequenceId;

/// What is known of the changes that the next forward waits for.
#[derive(Debug, Default)]
pub(super) struct StateChanges {
    /// Sequences of which the last forward left rows out, so that these are taken back next.
    rejected: HashSet<SequenceId>,
    /// Time that the changes took since the last forward was completed.
    spent: Duration,
}

impl StateChanges {
    /// Rows of this sequence did not join its stem.
    pub(super) fn reject(&mut self, sequence: SequenceId) {
        self.rejected.insert(sequence);
    }

    /// A change took so long.
    pub(super) fn spend(&mut self, elapsed: Duration) {
        self.spent += elapsed;
    }

    /// Whether rows of this sequence were to be taken back, which is done now.
    pub(super) fn take_rejected(&mut self, sequence: SequenceId) -> bool {
        self.rejected.remove(&sequence)
    }

    /// The time that changes took since the last call.
    pub(super) fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// The model was emptied: nothing is taken back any more.
    pub(super) fn forget(&mut self) {
        self.rejected.clear();
        self.spent = Duration::ZERO;
    }
}
