//! What a head reads: each token with a hidden state.
//!
//! A head decodes the token at index p with the state behind the token at p − 1: the target's own if
//! that is kept ([`HiddenStore`]), which it is for committed tokens; else the head's state behind the
//! token before, as llama-server's `draft-mtp` and `draft-eagle3` prolong a draft
//! (`common/speculative.cpp`). Where there is neither it reads zeros, as llama-server does.
//!
//! Two kinds of heads differ in two things. A head in the target's file reads the target's state as it
//! is, and the first token of a text with zeros. An EAGLE-3 head reads what its encoder makes of the
//! states of three layers ([`FeatureEncoder`]), and does not decode the first token of a text at all:
//! its positions count from the second.

use std::collections::HashMap;

use card_core::forward::{KvCell, KvOp, Row};
use card_core::types::SequenceId;

use super::feature_encoder::FeatureEncoder;
use super::hidden_store::HiddenStore;
use crate::sys::batch::Batch;
use crate::sys::context::Context;
use crate::sys::memory::SeqId;

/// Rows without logits that are decoded in one go with those that have some. With more, computing
/// logits that nobody wants would take longer than a forward more.
const FEW: usize = 8;

/// The states that a head's context reads, and those that it gives.
pub(super) struct HeadReader {
    store: HiddenStore,
    own: HashMap<SequenceId, OwnStates>,
    /// What makes the target's states into those that are read, if they are not read as they are.
    encoder: Option<FeatureEncoder>,
}

/// The head's own states for one sequence.
#[derive(Default)]
struct OwnStates {
    /// Tokens of the stem.
    stem: u32,
    /// The state behind the last token of the stem, if it is known.
    tip: Option<Box<[f32]>>,
    /// Tokens decoded behind the stem: their indices and the states behind them.
    cells: HashMap<KvCell, IndexAndState>,
}

/// The index of a token in its text, and the state behind it if it is known.
type IndexAndState = (u32, Option<Box<[f32]>>);

impl HeadReader {
    /// One that reads the target's states in this store.
    pub(super) fn new(store: HiddenStore) -> Self {
        HeadReader {
            store,
            own: HashMap::new(),
            encoder: None,
        }
    }

    /// One that reads what an encoder makes of the target's states in this store.
    pub(super) fn encoding(store: HiddenStore, encoder: FeatureEncoder) -> Self {
        HeadReader {
            encoder: Some(encoder),
            ..HeadReader::new(store)
        }
    }

    /// Tokens at the beginning of each text that are not decoded. Where there are no states at all,
    /// forwards are measured, and none is left out.
    pub(super) fn skipped(&self) -> u32 {
        u32::from(self.encoder.is_some() && !self.store.is_none())
    }

    /// The rows that are decoded in one go, by their indices. llama.cpp's heads give the right
    /// states only if all rows of a forward have logits, or none has.
    pub(super) fn parts(&self, rows: &[Row]) -> Vec<Vec<usize>> {
        let skipped = self.skipped();
        let read = (0..rows.len()).filter(|&i| rows[i].position >= skipped);
        let (loud, silent): (Vec<usize>, Vec<usize>) = read.partition(|&i| rows[i].logits);
        if loud.len() + silent.len() == 0 && !rows.is_empty() {
            return Vec::new();
        }
        // Rows without logits come before those with: they are what a text's last token follows.
        if silent.len() > FEW && !loud.is_empty() {
            return vec![silent, loud];
        }
        let mut all = [silent, loud].concat();
        all.sort_unstable();
        vec![all]
    }

    /// Whether all rows of a part get logits, wanted or not.
    pub(super) fn has_logits(rows: &[Row], part: &[usize]) -> bool {
        part.iter().any(|&i| rows[i].logits)
    }

    /// Writes the state that a row is read with.
    pub(super) fn read(&self, row: &Row, into: &mut [f32]) {
        into.fill(0.0);
        let Some(before) = row.position.checked_sub(1) else {
            return;
        };
        let states = self.store.states();
        let own = self.own.get(&row.sequence);
        let targets = match &self.encoder {
            None => states.get(row.sequence, before),
            Some(encoder) => encoder.state(row.sequence, before),
        };
        let state = targets.or_else(|| {
            let own = own?;
            match row.parent {
                Some(parent) => own.cells.get(&parent)?.1.as_deref(),
                None => own.tip.as_deref(),
            }
        });
        if let Some(state) = state.filter(|s| s.len() == into.len()) {
            into.copy_from_slice(state);
        }
    }

    /// The target's states that an encoder must make others of before a part is read
    /// ([`Context::encode`]); `None` if there is nothing to do. `scratch` is an id that holds nothing.
    pub(super) fn gathered(
        &mut self,
        rows: &[Row],
        part: &[usize],
        scratch: SeqId,
    ) -> Option<&Batch> {
        let encoder = self.encoder.as_mut()?;
        encoder.gather(rows, part, &self.store.states(), scratch)
    }

    /// That was done, in this context.
    pub(super) fn take_encoded(&mut self, context: &Context) {
        if let Some(encoder) = &mut self.encoder {
            encoder.take(context);
        }
    }

    /// A forward was decoded; of its rows those at the beginning of a text were left out.
    pub(super) fn note_skipped(&mut self, rows: &[Row]) {
        let skipped = self.skipped();
        for row in rows.iter().filter(|row| row.position < skipped) {
            self.note(row, None);
        }
    }

    /// The rows of a part were decoded, in this context. Of rows without logits there are no states,
    /// and llama.cpp must not be asked for them.
    pub(super) fn note_part(&mut self, rows: &[Row], part: &[usize], context: &Context) {
        let given = Self::has_logits(rows, part);
        for (i, &row) in part.iter().enumerate() {
            let state = if given { context.head_state(i) } else { None };
            self.note(&rows[row], state);
        }
    }

    /// A row was decoded, and this is the head's state behind it, if it gave one.
    fn note(&mut self, row: &Row, state: Option<&[f32]>) {
        let own = self.own.entry(row.sequence).or_default();
        let state = state.map(Box::from);
        own.cells.insert(row.cell, (row.position, state));
    }

    /// The cache was changed like this.
    pub(super) fn apply(&mut self, op: KvOp) {
        let mut states = self.store.states();
        match op {
            KvOp::Commit { sequence, tip, .. } => {
                let own = self.own.entry(sequence).or_default();
                if let Some((position, state)) = own.cells.remove(&tip) {
                    own.stem = position.saturating_add(1);
                    own.tip = state;
                    // The next token is read with the state behind the last one.
                    states.forget_before(sequence, position);
                }
                own.cells.clear();
            }
            KvOp::Prune { sequence } => {
                if let Some(own) = self.own.get_mut(&sequence) {
                    own.cells.clear();
                }
            }
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                let own = self.own.remove(&from).unwrap_or_default();
                self.own.insert(sequence, own.beginning(keep));
                states.forget(from);
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                let own = self.own.get(&from);
                let own = own.map_or_else(OwnStates::default, |own| own.beginning(keep));
                self.own.insert(sequence, own);
            }
            KvOp::Release { sequence } => {
                self.own.remove(&sequence);
                states.forget(sequence);
            }
            // A head saves no states of its own.
            KvOp::Save { .. } | KvOp::Resume { .. } | KvOp::Forget { .. } => {}
        }
    }

    /// The cache was emptied.
    pub(super) fn reset(&mut self) {
        self.own.clear();
    }
}

impl OwnStates {
    /// The states of a sequence that begins with the first `keep` tokens of this one's stem.
    fn beginning(&self, keep: u32) -> Self {
        OwnStates {
            stem: keep,
            tip: self.tip.clone().filter(|_| self.stem == keep),
            cells: HashMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SequenceId = SequenceId(1);
    const B: SequenceId = SequenceId(2);

    fn row(position: u32, cell: KvCell, parent: Option<KvCell>) -> Row {
        Row {
            sequence: A,
            token: 3,
            position,
            cell,
            parent,
            logits: true,
        }
    }

    fn read(reader: &HeadReader, row: &Row) -> f32 {
        let mut state = [9.0; 2];
        reader.read(row, &mut state);
        assert_eq!(state[0], state[1]);
        state[0]
    }

    fn committed(sequence: SequenceId, tip: KvCell) -> KvOp {
        KvOp::Commit {
            sequence,
            tip,
            keep_descendants: false,
        }
    }

    #[test]
    fn a_committed_token_is_read_with_the_targets_state_and_a_draft_with_the_heads() {
        let store = HiddenStore::new(2);
        let mut reader = HeadReader::new(store.clone());
        for position in 0..3 {
            store
                .states()
                .keep(A, position, &[10.0 + position as f32; 2]);
        }
        assert_eq!(read(&reader, &row(0, 1, None)), 0.0, "nothing is before it");
        assert_eq!(read(&reader, &row(1, 2, Some(1))), 10.0);
        // A text of four tokens is read; the head gives a state behind the last.
        for position in 0..4 {
            let last = (position == 3).then_some(&[0.25; 2][..]);
            reader.note(&row(position, u64::from(position) + 1, None), last);
        }
        reader.apply(committed(A, 4));
        assert!(store.states().get(A, 2).is_none(), "it was read");
        // Drafts behind it, each with the state behind the one before.
        assert_eq!(read(&reader, &row(4, 5, None)), 0.25);
        reader.note(&row(4, 5, None), Some(&[0.5; 2]));
        assert_eq!(read(&reader, &row(5, 6, Some(5))), 0.5);
        // The target committed the first of them, and decided it from the token before.
        reader.apply(KvOp::Prune { sequence: A });
        store.states().keep(A, 3, &[13.0; 2]);
        assert_eq!(read(&reader, &row(4, 7, None)), 13.0);
        assert_eq!(
            read(&reader, &row(5, 6, Some(5))),
            0.0,
            "it is not there any more"
        );
    }

    #[test]
    fn who_begins_with_a_whole_stem_goes_on_from_its_state() {
        let store = HiddenStore::new(2);
        let mut reader = HeadReader::new(store.clone());
        reader.note(&row(0, 1, None), None);
        reader.note(&row(1, 2, Some(1)), Some(&[0.5; 2]));
        reader.apply(committed(A, 2));
        for (keep, expected) in [(2, 0.5), (1, 0.0)] {
            reader.apply(KvOp::Share {
                sequence: B,
                from: A,
                keep,
            });
            let next = Row {
                sequence: B,
                ..row(keep, 9, None)
            };
            assert_eq!(read(&reader, &next), expected);
        }
        reader.apply(KvOp::Adopt {
            sequence: B,
            from: A,
            keep: 2,
        });
        let next = Row {
            sequence: B,
            ..row(2, 9, None)
        };
        assert_eq!(read(&reader, &next), 0.5);
        assert_eq!(read(&reader, &row(2, 9, None)), 0.0);
        reader.apply(KvOp::Release { sequence: B });
        assert_eq!(read(&reader, &next), 0.0);
    }

    #[test]
    fn rows_without_logits_are_decoded_apart_if_there_are_many() {
        let rows = |silent: u32, loud: u32| -> Vec<Row> {
            let row = |i| Row {
                logits: i >= silent,
                ..row(i, u64::from(i) + 1, None)
            };
            (0..silent + loud).map(row).collect()
        };
        let reader = HeadReader::new(HiddenStore::new(2));
        assert_eq!(reader.parts(&[]), [Vec::<usize>::new()]);
        assert_eq!(reader.parts(&rows(0, 3)).len(), 1);
        assert_eq!(reader.parts(&rows(8, 1)), [(0..9).collect::<Vec<_>>()]);
        assert_eq!(reader.parts(&rows(200, 0)).len(), 1);
        let long = rows(9, 2);
        let parts = reader.parts(&long);
        assert_eq!(parts, [(0..9).collect::<Vec<_>>(), vec![9, 10]]);
        assert!(!HeadReader::has_logits(&long, &parts[0]));
        assert!(HeadReader::has_logits(&long, &parts[1]));
    }
}
