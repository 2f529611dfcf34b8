//! The books of either kind of memory.

use card_core::forward::{KvOp, Row};
use card_core::types::SequenceId;

use super::error::KvError;
use super::parts::parts;
use super::states::KvStates;
use super::trees::KvTrees;
use crate::sys::memory::{MemoryOp, SeqId};

/// What a model remembers of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    /// A cell for each token, as attention has them.
    Cells {
        /// Whether the cells of each sequence stay in the order of their positions, whatever the
        /// others do.
        in_order: bool,
    },
    /// A state for each sequence id, and cells if the model is a hybrid one.
    States {
        /// Rows that a commit may leave out.
        snapshots: u32,
        /// As above, of a hybrid model; a recurrent one has no cells whose order could matter.
        in_order: bool,
    },
}

impl MemoryKind {
    /// Whether there is a state for each sequence id.
    pub(crate) const fn has_states(self) -> bool {
        matches!(self, MemoryKind::States { .. })
    }

    /// Whether the cells of each sequence stay in order.
    pub(super) const fn keeps_order(self) -> bool {
        match self {
            MemoryKind::Cells { in_order } | MemoryKind::States { in_order, .. } => in_order,
        }
    }
}

/// Which ids hold what, by the kind of memory.
pub(super) enum KvBooks {
    Trees(KvTrees),
    States(KvStates),
}

impl KvBooks {
    /// Empty books of so many ids.
    pub(super) fn new(kind: MemoryKind, ids: usize) -> Self {
        match kind {
            MemoryKind::Cells { .. } => KvBooks::Trees(KvTrees::new(ids)),
            MemoryKind::States { snapshots, .. } => KvBooks::States(KvStates::new(ids, snapshots)),
        }
    }

    /// Ids for the rows of a forward ([`KvTrees::place`], [`KvStates::place`]).
    pub(super) fn place(
        &mut self,
        rows: &[Row],
        before: &mut Vec<MemoryOp>,
    ) -> Result<Vec<Vec<SeqId>>, KvError> {
        match self {
            KvBooks::Trees(trees) => trees.place(rows, before),
            KvBooks::States(states) => states.place(rows, before),
        }
    }

    /// Takes back [`KvBooks::place`].
    pub(super) fn undo(&mut self, rows: &[Row], before: &[MemoryOp], out: &mut Vec<MemoryOp>) {
        match self {
            KvBooks::Trees(trees) => trees.undo(rows, before, out),
            KvBooks::States(states) => states.undo(rows, out),
        }
    }

    /// Carries out an operation of the core.
    pub(super) fn apply(&mut self, op: KvOp, out: &mut Vec<MemoryOp>) -> Result<(), KvError> {
        match self {
            KvBooks::Trees(trees) => trees.apply(op, out),
            KvBooks::States(states) => states.apply(op, out),
        }
    }

    /// The id that holds the state behind the stem of a sequence, of a model that keeps states.
    pub(super) fn state_id(&self, sequence: SequenceId) -> Option<SeqId> {
        match self {
            KvBooks::Trees(_) => None,
            KvBooks::States(states) => states.stem_id(sequence),
        }
    }

    /// The id and length of every stem, where stems can be moved now.
    pub(super) fn stems(&self) -> Option<Vec<(SeqId, u32)>> {
        match self {
            KvBooks::Trees(trees) => trees.stems(),
            KvBooks::States(states) => states.stems(),
        }
    }

    /// The rows of a forward that llama.cpp decodes in one go, by their indices.
    pub(super) fn parts(&self, rows: &[Row]) -> Vec<Vec<usize>> {
        match self {
            KvBooks::Trees(_) => vec![(0..rows.len()).collect()],
            KvBooks::States(states) => parts(rows, states.leaves_rows_out()),
        }
    }

    /// Whether some of these rows change the state of a stem itself, so that they cannot be taken
    /// back.
    pub(super) fn change_a_stem(&self, rows: &[Row]) -> bool {
        match self {
            KvBooks::Trees(_) => false,
            KvBooks::States(states) => states.change_a_stem(rows),
        }
    }
}
