//! The target's side of a head: takes the hidden states that the head will read out of a forward.

use std::collections::HashMap;

use card_core::forward::{HiddenRow, KvOp};

use super::hidden_store::HiddenStore;
use crate::sys::context::Context;

/// Keeps hidden states of a target's forwards in a [`HiddenStore`].
pub(super) struct StateKeeper {
    store: HiddenStore,
    /// States by row of the last forward, if that was decoded in several parts. Of any other they
    /// are still in the context.
    apart: Option<HashMap<usize, Box<[f32]>>>,
}

impl StateKeeper {
    /// One that keeps states there.
    pub(super) fn new(store: HiddenStore) -> Self {
        StateKeeper { store, apart: None }
    }

    /// A forward begins.
    pub(super) fn begin(&mut self) {
        self.apart = None;
    }

    /// Copies the states of the rows of a part, which the next part takes the place of.
    pub(super) fn set_apart(&mut self, part: &[usize], context: &Context) {
        let apart = self.apart.get_or_insert_default();
        for (i, &row) in part.iter().enumerate() {
            if let Some(state) = context.head_state(i) {
                apart.insert(row, state.into());
            }
        }
    }

    /// These rows of the last forward are wanted.
    pub(super) fn keep(&self, rows: &[HiddenRow], context: &Context) {
        let mut states = self.store.states();
        for hidden in rows {
            let state = match &self.apart {
                Some(apart) => apart.get(&hidden.row).map(|state| &**state),
                None => context.head_state(hidden.row),
            };
            if let Some(state) = state {
                states.keep(hidden.sequence, hidden.position, state);
            }
        }
    }

    /// The cache is changed like this.
    pub(super) fn apply(&self, op: KvOp) {
        if let KvOp::Release { sequence: over } | KvOp::Adopt { from: over, .. } = op {
            self.store.states().forget(over);
        }
    }
}
