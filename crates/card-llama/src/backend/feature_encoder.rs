//! What an EAGLE-3 head makes of its target's states: one state of those of three layers.
//!
//! The encoder is part of the head and runs in the head's context, right before the rows that read
//! what it makes (EAGLE-3, arXiv 2503.01840, §3.1: features of low, middle and high layers are fused).

use std::collections::HashMap;

use card_core::forward::Row;
use card_core::types::SequenceId;

use super::hidden_store::HiddenStates;
use crate::sys::batch::Batch;
use crate::sys::context::Context;
use crate::sys::memory::SeqId;

/// A token: its sequence, and its index there.
type TokenPlace = (SequenceId, u32);

/// The encoder of a head, and what it made for the rows that are decoded next.
pub(super) struct FeatureEncoder {
    batch: Batch,
    /// Numbers of what it takes of one token.
    width: usize,
    /// Which tokens the rows of the batch are of.
    places: Vec<TokenPlace>,
    encoded: HashMap<TokenPlace, Box<[f32]>>,
}

impl FeatureEncoder {
    /// One for states of `width` numbers in a head's context; `None` if there is no memory.
    pub(super) fn new(context: &Context, width: usize) -> Option<Self> {
        Some(FeatureEncoder {
            batch: context.states_batch(width)?,
            width,
            places: Vec::new(),
            encoded: HashMap::new(),
        })
    }

    /// The states that the rows of a part (their indices) are read with, as far as they are kept, for
    /// [`Context::encode`]; `None` if there are none. `scratch` is an id that holds nothing.
    pub(super) fn gather(
        &mut self,
        rows: &[Row],
        part: &[usize],
        states: &HiddenStates,
        scratch: SeqId,
    ) -> Option<&Batch> {
        self.encoded.clear();
        self.places.clear();
        for row in part.iter().map(|&i| &rows[i]) {
            let Some(before) = row.position.checked_sub(1) else {
                continue;
            };
            let place = (row.sequence, before);
            let kept = states.get(row.sequence, before);
            // Rows that follow the same token share its state.
            if kept.is_some_and(|s| s.len() == self.width) && !self.places.contains(&place) {
                self.places.push(place);
            }
        }
        if self.places.is_empty() {
            return None;
        }
        self.batch.clear();
        let into = self.batch.embeddings_mut(self.places.len());
        for (&(sequence, index), into) in self.places.iter().zip(into.chunks_exact_mut(self.width))
        {
            if let Some(state) = states.get(sequence, index) {
                into.copy_from_slice(state);
            }
        }
        for position in 0..self.places.len() as u32 {
            self.batch.push(0, position, &[scratch], true);
        }
        Some(&self.batch)
    }

    /// Takes what was made of the states that were gathered last.
    pub(super) fn take(&mut self, context: &Context) {
        for (i, &place) in self.places.iter().enumerate() {
            if let Some(state) = context.head_state(i) {
                self.encoded.insert(place, state.into());
            }
        }
    }

    /// What was made of the states behind a token, if that was gathered.
    pub(super) fn state(&self, sequence: SequenceId, index: u32) -> Option<&[f32]> {
        self.encoded.get(&(sequence, index)).map(|state| &**state)
    }
}
