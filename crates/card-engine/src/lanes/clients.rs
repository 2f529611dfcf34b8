//! The clients: who asked for the generations that run.

use std::collections::HashMap;

use card_core::types::SequenceId;

use crate::stream::Cancelled;

/// A client: who asked for a generation.
pub(super) struct Client {
    /// Raised once nobody wants the generation any more.
    pub(super) cancelled: Cancelled,
    /// The scope of the drafter that drafts for it, beside the drafters that draft for all.
    pub(super) scope: Option<String>,
}

/// The clients of the sequences that run. A sequence leaves when its last event is told.
#[derive(Default)]
pub(super) struct Clients(HashMap<SequenceId, Client>);

impl Clients {
    /// A generation has begun.
    pub(super) fn insert(&mut self, sequence: SequenceId, client: Client) {
        self.0.insert(sequence, client);
    }

    /// A generation is over.
    pub(super) fn remove(&mut self, sequence: SequenceId) {
        self.0.remove(&sequence);
    }

    /// The scope of a sequence's request; `None` too for a sequence that does not run.
    pub(super) fn scope(&self, sequence: SequenceId) -> Option<&str> {
        self.0.get(&sequence).and_then(|c| c.scope.as_deref())
    }

    /// The sequences that run, with their scopes.
    pub(super) fn scopes(&self) -> impl Iterator<Item = (SequenceId, Option<&str>)> {
        self.0.iter().map(|(&id, c)| (id, c.scope.as_deref()))
    }

    /// The sequences that nobody wants any more.
    pub(super) fn cancelled(&self) -> impl Iterator<Item = SequenceId> {
        let cancelled = self.0.iter().filter(|(_, c)| c.cancelled.is_set());
        cancelled.map(|(&id, _)| id)
    }
}
