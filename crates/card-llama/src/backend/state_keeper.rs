//! The target's side of a head: takes the hidden states that the head will read out of a forward.

use std::borrow::Cow;
use std::collections::HashMap;

use card_core::forward::{HiddenRow, KvOp};

use super::hidden_store::HiddenStore;
use crate::sys::context::Context;

/// Which hidden states a head reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadStates {
    /// Those behind the last layer, as heads in the target's file do.
    Last,
    /// The inputs of the layers that the context was told of ([`Context::tap`]).
    Inputs,
}

/// Keeps hidden states of a target's forwards in a [`HiddenStore`].
pub(super) struct StateKeeper {
    store: HiddenStore,
    read: ReadStates,
    /// States by row of the last forward, if that was decoded in several parts. Of any other they
    /// are still in the context.
    apart: Option<HashMap<usize, Box<[f32]>>>,
}

impl StateKeeper {
    /// One that keeps these states there.
    pub(super) fn new(store: HiddenStore, read: ReadStates) -> Self {
        StateKeeper {
            store,
            read,
            apart: None,
        }
    }

    /// A forward begins.
    pub(super) fn begin(&mut self) {
        self.apart = None;
    }

    /// Copies the states of the rows of a part, which the next part takes the place of.
    pub(super) fn set_apart(&mut self, part: &[usize], context: &Context) {
        let read = self.read;
        let apart = self.apart.get_or_insert_default();
        for (i, &row) in part.iter().enumerate() {
            if let Some(state) = read.state(i, context) {
                apart.insert(row, state.into());
            }
        }
    }

    /// These rows of the last forward are wanted.
    pub(super) fn keep(&self, rows: &[HiddenRow], context: &Context) {
        let mut states = self.store.states();
        for hidden in rows {
            let state = match &self.apart {
                Some(apart) => apart.get(&hidden.row).map(|state| Cow::Borrowed(&**state)),
                None => self.read.state(hidden.row, context),
            };
            if let Some(state) = state {
                states.keep(hidden.sequence, hidden.position, &state);
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

impl ReadStates {
    /// Row `i` of the last forward, if it gave one.
    fn state(self, i: usize, context: &Context) -> Option<Cow<'_, [f32]>> {
        match self {
            ReadStates::Last => context.head_state(i).map(Cow::Borrowed),
            ReadStates::Inputs => context.layer_inputs(i).map(Cow::Owned),
        }
    }
}
