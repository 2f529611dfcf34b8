//! llama.cpp's KV cache kept in step with the books ([`KvBooks`]).

use std::collections::HashMap;

use card_core::forward::{KvOp, ModelError, Row, StateName};
use card_core::types::SequenceId;

use super::books::{KvBooks, MemoryKind};
use super::error::KvError;
use crate::sys::context::{Context, Decoded};
use crate::sys::memory::{MemoryOp, SeqId};
use crate::sys::shim::Thrown;

/// Ids that no sequence gets: that of padding, and that of dead cells. An id of a model that keeps
/// states takes much memory, so the second one is there only if it is used.
pub(crate) const fn own_ids(kind: MemoryKind) -> usize {
    match kind {
        MemoryKind::States {
            in_order: false, ..
        } => 1,
        _ => 2,
    }
}

/// The KV cache of a context, which the methods are given.
///
/// Invariants: between calls llama.cpp's cache is what `books` say, or empty; `used` counts at
/// least the cells that are taken, dead ones included.
pub(crate) struct KvCache {
    /// "target" or "draft", for messages.
    role: &'static str,
    books: KvBooks,
    /// Sequence ids there are.
    ids: usize,
    /// What the model remembers. Where cells stay in order, those that become free are kept taken
    /// by an id of their own ("dead"), until [`KvCache::compact`].
    kind: MemoryKind,
    /// Cells that are taken, dead ones included.
    used: usize,
    /// Cells there are.
    cells: usize,
    /// Changes that are still to be carried out.
    ops: Vec<MemoryOp>,
    /// States that were saved, in the machine's own memory wherever the model is.
    saved: HashMap<StateName, Vec<u8>>,
}

/// The ids of a forward's rows, and what was done for them.
pub(crate) struct PlacedRows {
    /// For each row the ids it belongs to; the first is the one it attends with.
    pub(crate) ids: Vec<Vec<SeqId>>,
    /// The indices of the rows that are decoded in one go, part by part.
    pub(crate) parts: Vec<Vec<usize>>,
    /// Some of the rows change the state of a stem itself: once they are decoded, they cannot be
    /// taken back.
    pub(crate) change_a_stem: bool,
    before: Vec<MemoryOp>,
}

impl PlacedRows {
    /// No row: a forward of nothing but padding.
    pub(crate) fn none() -> Self {
        PlacedRows {
            ids: Vec::new(),
            parts: vec![Vec::new()],
            change_a_stem: false,
            before: Vec::new(),
        }
    }
}

impl KvCache {
    /// An empty cache of so many sequence ids (more than [`own_ids`]) and cells.
    pub(crate) fn new(role: &'static str, ids: usize, cells: usize, kind: MemoryKind) -> Self {
        KvCache {
            role,
            books: KvBooks::new(kind, ids - own_ids(kind)),
            ids,
            kind,
            used: 0,
            cells,
            ops: Vec::new(),
            saved: HashMap::new(),
        }
    }

    /// Id of the rows that fill a forward up.
    pub(crate) fn scratch(&self) -> SeqId {
        self.ids as SeqId - 1
    }

    /// Id of the cells that became free where the order of cells is kept.
    fn dead(&self) -> SeqId {
        self.ids as SeqId - 2
    }

    /// A forward of so many rows begins: each takes a cell.
    pub(crate) fn take_cells(&mut self, rows: usize) {
        self.used += rows;
    }

    /// Empties the cache: every sequence begins anew.
    ///
    /// # Errors
    /// If llama.cpp cannot even do that; the context is of no use then.
    pub(crate) fn reset(&mut self, context: &mut Context) -> Result<(), ModelError> {
        self.books = KvBooks::new(self.kind, self.ids - own_ids(self.kind));
        self.ops.clear();
        self.saved.clear();
        self.used = 0;
        context.clear(true).map_err(|e| thrown(self.role, &e))
    }

    /// The cache is not what the books say, so nothing in it may be believed: it is emptied,
    /// and whoever names a sequence that was there gets an error.
    pub(crate) fn lost(&mut self, context: &mut Context, why: &str) -> ModelError {
        let role = self.role;
        match self.reset(context) {
            Ok(()) => ModelError::Failed(format!(
                "the KV cache of the {role} model was lost: {why}. Running generations end; ask again"
            )),
            Err(e) => e,
        }
    }

    /// Carries out an operation of the core.
    ///
    /// # Errors
    /// If it names what is not there, there is no id for it, or llama.cpp fails.
    pub(crate) fn apply(&mut self, context: &mut Context, op: KvOp) -> Result<(), ModelError> {
        let done = self.books.apply(op, &mut self.ops);
        done.map_err(|refusal| self.refused(refusal, op))?;
        self.change(context)?;
        match op {
            KvOp::Save { sequence, state } => self.save_state(context, sequence, state),
            KvOp::Resume {
                sequence,
                keep,
                state,
                ..
            } => self.resume(context, sequence, keep, state),
            KvOp::Forget { state } => {
                self.saved.remove(&state);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Bytes that the state behind the stem of a sequence takes when it is saved.
    ///
    /// # Errors
    /// If the sequence has none, or llama.cpp fails.
    pub(crate) fn weigh_state(
        &self,
        context: &mut Context,
        sequence: SequenceId,
    ) -> Result<usize, ModelError> {
        let id = self.state_id(sequence)?;
        context.state_size(id).map_err(|why| self.not_saved(&why))
    }

    /// Saves the state behind the stem of a sequence.
    fn save_state(
        &mut self,
        context: &mut Context,
        sequence: SequenceId,
        state: StateName,
    ) -> Result<(), ModelError> {
        let id = self.state_id(sequence)?;
        let bytes = context.save_state(id).map_err(|why| self.not_saved(&why))?;
        self.saved.insert(state, bytes);
        Ok(())
    }

    /// Of a sequence that began with a copy of a stem: its state becomes the saved one, and its cells
    /// of attention those of the first `keep` tokens.
    fn resume(
        &mut self,
        context: &mut Context,
        sequence: SequenceId,
        keep: u32,
        state: StateName,
    ) -> Result<(), ModelError> {
        let id = self.state_id(sequence)?;
        let restored = match self.saved.get(&state) {
            Some(bytes) => context.restore_state(id, bytes),
            None => Err("it was not saved".to_owned()),
        };
        if let Err(why) = restored {
            let why = format!("a saved state cannot be put back ({why})");
            return Err(self.lost(context, &why));
        }
        self.ops.push(MemoryOp::Remove { id, start: keep });
        self.change(context)
    }

    fn state_id(&self, sequence: SequenceId) -> Result<SeqId, ModelError> {
        let id = self.books.state_id(sequence);
        id.ok_or_else(|| self.refused(KvError::Unknown(sequence), sequence))
    }

    fn not_saved(&self, why: &str) -> ModelError {
        ModelError::Failed(format!(
            "the state of the {} model cannot be saved: {why}",
            self.role
        ))
    }

    /// Finds ids for the rows of a forward, and marks the cells they attend to.
    ///
    /// # Errors
    /// If there are not enough ids, a parent is not known, or llama.cpp fails.
    pub(crate) fn place(
        &mut self,
        context: &mut Context,
        rows: &[Row],
    ) -> Result<PlacedRows, ModelError> {
        let mut before = Vec::new();
        let ids = self.books.place(rows, &mut before);
        let ids = ids.map_err(|refusal| self.refused(refusal, "a row"))?;
        self.ops.extend_from_slice(&before);
        self.change(context)?;
        Ok(PlacedRows {
            ids,
            parts: self.books.parts(rows),
            change_a_stem: self.books.change_a_stem(rows),
            before,
        })
    }

    /// Takes the rows of a forward that failed back. A cache that was lost meanwhile has no books
    /// to put right.
    ///
    /// # Errors
    /// If llama.cpp fails.
    pub(crate) fn take_back(
        &mut self,
        context: &mut Context,
        rows: &[Row],
        placed: &PlacedRows,
    ) -> Result<(), ModelError> {
        self.books.undo(rows, &placed.before, &mut self.ops);
        self.change(context)
    }

    /// Frees the cells of the rows that filled a forward up.
    ///
    /// # Errors
    /// If llama.cpp fails.
    pub(crate) fn drop_padding(&mut self, context: &mut Context) -> Result<(), ModelError> {
        self.ops.push(MemoryOp::Remove {
            id: self.scratch(),
            start: 0,
        });
        self.change(context)
    }

    fn refused(&self, refusal: KvError, what: impl std::fmt::Debug) -> ModelError {
        match refusal {
            KvError::NoIds(sequence) => ModelError::Ids {
                model: self.role.into(),
                sequence,
            },
            KvError::Unknown(_) => ModelError::Failed(format!(
                "{} KV cache: {what:?} names what is not there",
                self.role
            )),
            KvError::Gone(_) => ModelError::Failed(format!(
                "{} KV cache: {what:?} asks for a state that the model does not have any more",
                self.role
            )),
        }
    }

    /// Carries out what the books say.
    fn change(&mut self, context: &mut Context) -> Result<(), ModelError> {
        let ops = std::mem::take(&mut self.ops);
        let failed = ops
            .iter()
            .find_map(|&op| match self.change_one(context, op) {
                Ok(true) => None,
                Ok(false) => Some("llama.cpp cannot remove these cells".to_owned()),
                Err(thrown) => Some(thrown.to_string()),
            });
        match failed {
            None => {
                // The list keeps its memory.
                self.ops = ops;
                self.ops.clear();
                Ok(())
            }
            Some(why) => Err(self.lost(context, &why)),
        }
    }

    fn change_one(&self, context: &mut Context, op: MemoryOp) -> Result<bool, Thrown> {
        if let MemoryOp::Remove { id, start } = op
            && self.kind.keeps_order()
        {
            // llama.cpp puts the next token into the first free cell. One that
            // becomes free before the last of another sequence must not be it.
            let start = match self.kind {
                MemoryKind::Cells { .. } => start,
                // Some models copy whole ids only. The dead id shares the last state, too.
                MemoryKind::States { .. } => 0,
            };
            context.copy(id, self.dead(), start, -1)?;
        }
        context.change(op)
    }

    /// Gives the cells of the dead back, if there are many or `rows` more do not fit: the
    /// stems are taken out and put in again, one behind the other.
    ///
    /// # Errors
    /// If the cache is full and its stems cannot be moved, or was lost over it.
    pub(crate) fn compact(&mut self, context: &mut Context, rows: usize) -> Result<(), ModelError> {
        const FEW: usize = 128;
        if !self.kind.keeps_order() {
            return Ok(());
        }
        let Some(stems) = self.books.stems() else {
            return Ok(());
        };
        let live: usize = stems.iter().map(|s| s.1 as usize).sum();
        let full = self.used + rows > self.cells;
        if self.used == live || !(full || self.used > live + FEW.max(live / 4)) {
            return Ok(());
        }
        let saved = match save(context, &stems) {
            Ok(saved) => saved,
            // Nothing has changed yet. Cells are left, so this can wait.
            Err(_) if !full => return Ok(()),
            Err(why) => {
                return Err(ModelError::Failed(format!(
                    "the KV cache of the {} model is full of what is over, and its stems \
                     cannot be moved: {why}",
                    self.role
                )));
            }
        };
        // What is still wanted was copied.
        if let Err(thrown) = context.clear(false) {
            return Err(self.lost(context, &thrown.to_string()));
        }
        self.used = live;
        for stem in saved {
            if let Err(why) = context.restore(stem.id, &stem.bytes) {
                // The stems after this one are empty in the cache, and those before may be
                // cut off. llama.cpp would go on without their text.
                let why = format!("{} tokens cannot be put back ({why})", stem.length);
                return Err(self.lost(context, &why));
            }
        }
        Ok(())
    }
}

/// A stem that was taken out of the cache.
struct SavedStem {
    id: SeqId,
    /// Tokens.
    length: u32,
    /// What llama.cpp gave for it.
    bytes: Vec<u8>,
}

/// Copies of the stems that hold something.
fn save(context: &mut Context, stems: &[(SeqId, u32)]) -> Result<Vec<SavedStem>, String> {
    let full = stems.iter().filter(|s| s.1 > 0);
    full.map(|&(id, length)| {
        let bytes = context.save(id)?;
        Ok(SavedStem { id, length, bytes })
    })
    .collect()
}

/// The words for what llama.cpp threw.
pub(crate) fn thrown(role: &str, thrown: &Thrown) -> ModelError {
    ModelError::Failed(format!("the {role} model: {thrown}"))
}

/// The error of a forward that did not go through.
pub(crate) fn check(role: &str, decoded: Decoded) -> Result<(), ModelError> {
    match decoded {
        Decoded::Whole => Ok(()),
        Decoded::Full => Err(ModelError::Full { model: role.into() }),
        Decoded::GivenUp => Err(ModelError::Failed(format!(
            "the {role} model took too long over a forward"
        ))),
        Decoded::Failed { code, why } => Err(ModelError::Failed(format!(
            "the {role} model failed to decode (code {code}: {why})"
        ))),
    }
}
