//! Which llama.cpp sequence ids hold which states, of a model that keeps one state per id: a
//! recurrent model, or a hybrid one, whose recurrent layers keep a state and whose attention keeps
//! cells.
//!
//! Such a state cannot go back by a token. But llama.cpp copies a whole id for nothing: `seq_cp`
//! makes two ids share a state (and the cells of attention), and the next forward of either writes
//! to a state of its own. So the rows of a forward get a new id, a copy of the one that they
//! follow. What they follow stays as it was, and can be gone back to: the stem, or any token that
//! was drafted in a forward of its own.
//!
//! Some models can leave the last rows of a forward out (llama.cpp's `n_rs_seq` snapshots). An id
//! that was turned back this way has no state of its own before the next forward: what llama.cpp
//! notes is not copied with the id. So its rows are decoded in place, and at least the first of
//! them has to stay, for which there is a snapshot.
//!
//! This file is bookkeeping only: it says what to do to llama.cpp's memory.

use std::collections::HashMap;

use card_core::forward::{KvCell, KvOp, Row};
use card_core::types::SequenceId;

use super::error::KvError;
use super::ids;
use crate::sys::memory::{MemoryOp, SeqId};

/// The states of every sequence. See the [module](self) documentation.
///
/// Invariants: every id is either free, the stem of one sequence, or that of one chain (of both, if
/// the chain is decoded in place); a free id holds nothing. A refusal changes nothing.
pub(crate) struct KvStates {
    pub(super) sequences: HashMap<SequenceId, StateSequence>,
    pub(super) free: Vec<SeqId>,
    /// Rows that a commit may leave out of a chain.
    snapshots: u32,
}

/// The stem of a sequence, and the chains that hang off it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StateSequence {
    /// The id that holds the state behind the stem; `None` while the sequence has no token.
    pub(super) stem: Option<SeqId>,
    /// Tokens of the stem.
    pub(super) stem_len: u32,
    /// The last commit left rows out, so the stem cannot be copied.
    pub(super) rolled_back: bool,
    /// Chains, each behind those that it follows.
    pub(super) chains: Vec<StateChain>,
}

/// Rows that were decoded in one forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateChain {
    /// The id that holds the state behind the last row.
    pub(super) id: SeqId,
    /// The cell that the first row follows; `None` for the end of the stem.
    parent: Option<KvCell>,
    /// Position of the first row.
    start: u32,
    /// The rows, at least one.
    pub(super) cells: Vec<KvCell>,
    /// The rows changed the stem's own state.
    pub(super) in_place: bool,
}

impl StateChain {
    /// Position behind the last row.
    fn end(&self) -> u32 {
        self.start + self.cells.len() as u32
    }

    /// The last row.
    fn tip(&self) -> Option<KvCell> {
        self.cells.last().copied()
    }
}

impl StateSequence {
    fn is_empty(&self) -> bool {
        self.stem.is_none() && self.chains.is_empty()
    }

    /// The id and the length of what a row behind `parent` follows; `None` if there is no state of
    /// that.
    fn state_behind(&self, parent: Option<KvCell>) -> Option<(Option<SeqId>, u32)> {
        if parent.is_none() {
            return Some((self.stem, self.stem_len));
        }
        let chain = self.chains.iter().find(|c| c.tip() == parent)?;
        Some((Some(chain.id), chain.end()))
    }

    /// The chain that has this cell, and its place in it.
    fn find(&self, cell: KvCell) -> Option<(usize, usize)> {
        let place = |c: &StateChain| c.cells.iter().position(|&known| known == cell);
        let mut chains = self.chains.iter().enumerate();
        chains.find_map(|(i, c)| Some((i, place(c)?)))
    }
}

impl KvStates {
    /// With the ids `0..ids`, of a context whose commits may leave `snapshots` rows out.
    pub(crate) fn new(ids: usize, snapshots: u32) -> Self {
        KvStates {
            sequences: HashMap::new(),
            free: ids::all(ids),
            snapshots,
        }
    }

    /// Whether a commit may leave rows out.
    pub(super) fn leaves_rows_out(&self) -> bool {
        self.snapshots > 0
    }

    /// Finds ids for the rows of a forward: for each row the id it belongs to, and what to do
    /// before decoding.
    ///
    /// # Errors
    /// If there are not enough ids, a parent is not known, or the rows of a sequence are not one
    /// chain, side by side.
    pub(crate) fn place(
        &mut self,
        rows: &[Row],
        before: &mut Vec<MemoryOp>,
    ) -> Result<Vec<Vec<SeqId>>, KvError> {
        let mut ids = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            let earlier = &rows[..i];
            let follows = earlier.last().filter(|b| b.sequence == row.sequence);
            let placed = match follows {
                Some(previous) => self.go_on(row, previous),
                None => self.begin(row, earlier, before),
            };
            match placed {
                Ok(id) => ids.push(vec![id]),
                Err(refusal) => {
                    // Nothing was done to the memory yet, so only the books are put right.
                    self.undo(earlier, &mut Vec::new());
                    before.clear();
                    return Err(refusal);
                }
            }
        }
        Ok(ids)
    }

    /// Places a row behind the `previous` row of the same chain.
    fn go_on(&mut self, row: &Row, previous: &Row) -> Result<SeqId, KvError> {
        let unknown = KvError::Unknown(row.sequence);
        let sequence = self.sequences.get_mut(&row.sequence).ok_or(unknown)?;
        if row.parent != Some(previous.cell) || sequence.find(row.cell).is_some() {
            return Err(unknown);
        }
        let chain = sequence.chains.last_mut().ok_or(unknown)?;
        if chain.end() != row.position {
            return Err(unknown);
        }
        chain.cells.push(row.cell);
        Ok(chain.id)
    }

    /// Places the first row of a chain; `earlier` are the rows before it.
    fn begin(
        &mut self,
        row: &Row,
        earlier: &[Row],
        before: &mut Vec<MemoryOp>,
    ) -> Result<SeqId, KvError> {
        let unknown = KvError::Unknown(row.sequence);
        let new = StateSequence::default();
        let known = self.sequences.get(&row.sequence).unwrap_or(&new);
        let (from, length) = known.state_behind(row.parent).ok_or(unknown)?;
        let apart = earlier.iter().any(|e| e.sequence == row.sequence);
        if apart || length != row.position || known.find(row.cell).is_some() {
            return Err(unknown);
        }
        let in_place = row.parent.is_none() && known.rolled_back;
        if in_place && !known.chains.is_empty() {
            return Err(KvError::Gone(row.sequence));
        }
        let id = match from {
            Some(stem) if in_place => stem,
            from => {
                let id = ids::take(&mut self.free, row.sequence)?;
                before.extend(from.map(|from| MemoryOp::CopyAll { from, to: id }));
                id
            }
        };
        let chain = StateChain {
            id,
            parent: row.parent,
            start: row.position,
            cells: vec![row.cell],
            in_place,
        };
        let sequence = self.sequences.entry(row.sequence).or_default();
        sequence.chains.push(chain);
        Ok(id)
    }

    /// Takes back [`KvStates::place`] after a forward that changed nothing in llama.cpp's memory,
    /// or after which nobody reads it.
    pub(crate) fn undo(&mut self, rows: &[Row], out: &mut Vec<MemoryOp>) {
        for row in rows {
            let Some(sequence) = self.sequences.get_mut(&row.sequence) else {
                continue;
            };
            let placed = |c: &mut StateChain| c.cells.contains(&row.cell);
            if let Some(chain) = sequence.chains.pop_if(placed) {
                drop_chain(&chain, &mut self.free, out);
            }
            if sequence.is_empty() {
                self.sequences.remove(&row.sequence);
            }
        }
    }

    /// Whether some of these rows change the state of a stem itself.
    pub(crate) fn change_a_stem(&self, rows: &[Row]) -> bool {
        rows.iter().any(|row| {
            let sequence = self.sequences.get(&row.sequence);
            sequence.is_some_and(|s| s.chains.iter().any(|c| c.in_place))
        })
    }

    /// The id and length of every stem; `None` while chains hang off some.
    pub(super) fn stems(&self) -> Option<Vec<(SeqId, u32)>> {
        let all = self.sequences.values();
        if all.clone().any(|s| !s.chains.is_empty()) {
            return None;
        }
        Some(all.filter_map(|s| Some((s.stem?, s.stem_len))).collect())
    }

    /// Carries out an operation of the core.
    ///
    /// # Errors
    /// If it names what is not there, the model has no state for it, or there is no id.
    pub(crate) fn apply(&mut self, op: KvOp, out: &mut Vec<MemoryOp>) -> Result<(), KvError> {
        match op {
            KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            } => self.commit(sequence, tip, keep_descendants, out),
            KvOp::Prune { sequence } => self.prune(sequence, out),
            KvOp::Share {
                sequence,
                from,
                keep,
            } => self.share(sequence, from, keep, out),
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => self.adopt(sequence, from, keep),
            KvOp::Release { sequence } => {
                self.release(sequence, out);
                Ok(())
            }
            KvOp::Save { sequence, .. } => {
                let known = self.sequences.get(&sequence);
                let at_rest = known.filter(|s| s.stem.is_some() && s.chains.is_empty());
                at_rest.map(|_| ()).ok_or(KvError::Unknown(sequence))
            }
            KvOp::Resume {
                sequence,
                from,
                keep,
                ..
            } => self.resume(sequence, from, keep, out),
            // The bytes are not in the books.
            KvOp::Forget { .. } => Ok(()),
        }
    }

    /// The id that holds the state behind the stem of a sequence.
    pub(super) fn stem_id(&self, sequence: SequenceId) -> Option<SeqId> {
        self.sequences.get(&sequence)?.stem
    }

    /// A new sequence begins with a part of the stem of `from`, which keeps it: with what attention
    /// keeps of all of it. The state behind that part, and what it is too long, is left to the
    /// caller.
    fn resume(
        &mut self,
        sequence: SequenceId,
        from: SequenceId,
        keep: u32,
        out: &mut Vec<MemoryOp>,
    ) -> Result<(), KvError> {
        let owner = self.sequences.get(&from).filter(|o| keep <= o.stem_len);
        let stem = owner.and_then(|o| o.stem).ok_or(KvError::Unknown(from))?;
        ids::refuse_known(&self.sequences, sequence)?;
        let to = ids::take(&mut self.free, sequence)?;
        out.push(MemoryOp::CopyAll { from: stem, to });
        let begun = StateSequence {
            stem: Some(to),
            stem_len: keep,
            ..StateSequence::default()
        };
        self.sequences.insert(sequence, begun);
        Ok(())
    }

    /// The path to `tip` joins the stem: the id of its chain becomes the stem's.
    fn commit(
        &mut self,
        sequence: SequenceId,
        tip: KvCell,
        keep_descendants: bool,
        out: &mut Vec<MemoryOp>,
    ) -> Result<(), KvError> {
        let unknown = KvError::Unknown(sequence);
        let known = self.sequences.get_mut(&sequence).ok_or(unknown)?;
        let (at, place) = known.find(tip).ok_or(unknown)?;
        let left_out = known.chains[at].cells.len() - 1 - place;
        if left_out > self.snapshots as usize {
            return Err(KvError::Gone(sequence));
        }
        let mut kept: Vec<StateChain> = Vec::new();
        let behind = known.chains.split_off(at + 1);
        let chain = known.chains.pop().ok_or(unknown)?;
        for mut later in behind {
            let next = later.parent == Some(tip);
            let below = kept.iter().any(|k| k.tip() == later.parent);
            if keep_descendants && left_out == 0 && (next || below) {
                later.parent = later.parent.filter(|_| !next);
                kept.push(later);
            } else {
                drop_chain(&later, &mut self.free, out);
            }
        }
        for earlier in known.chains.drain(..) {
            drop_chain(&earlier, &mut self.free, out);
        }
        if let Some(stem) = known.stem.filter(|_| !chain.in_place) {
            ids::drop_id(stem, &mut self.free, out);
        }
        let stem_len = chain.start + place as u32 + 1;
        if left_out > 0 {
            out.push(MemoryOp::Remove {
                id: chain.id,
                start: stem_len,
            });
        }
        *known = StateSequence {
            stem: Some(chain.id),
            stem_len,
            rolled_back: left_out > 0,
            chains: kept,
        };
        Ok(())
    }

    /// Every chain is taken back.
    fn prune(&mut self, sequence: SequenceId, out: &mut Vec<MemoryOp>) -> Result<(), KvError> {
        let Some(known) = self.sequences.get_mut(&sequence) else {
            return Ok(());
        };
        if known.chains.iter().any(|c| c.in_place) {
            return Err(KvError::Gone(sequence));
        }
        for chain in known.chains.drain(..) {
            drop_chain(&chain, &mut self.free, out);
        }
        if known.is_empty() {
            self.sequences.remove(&sequence);
        }
        Ok(())
    }

    /// A new sequence begins with the whole stem of `from`, which keeps it.
    fn share(
        &mut self,
        sequence: SequenceId,
        from: SequenceId,
        keep: u32,
        out: &mut Vec<MemoryOp>,
    ) -> Result<(), KvError> {
        let owner = self.sequences.get(&from).filter(|o| o.stem_len == keep);
        let owner = owner.ok_or(KvError::Unknown(from))?;
        if owner.rolled_back {
            return Err(KvError::Gone(from));
        }
        let from = owner.stem.ok_or(KvError::Unknown(from))?;
        ids::refuse_known(&self.sequences, sequence)?;
        let to = ids::take(&mut self.free, sequence)?;
        out.push(MemoryOp::CopyAll { from, to });
        let shared = StateSequence {
            stem: Some(to),
            stem_len: keep,
            ..StateSequence::default()
        };
        self.sequences.insert(sequence, shared);
        Ok(())
    }

    /// A sequence takes the whole stem of `from` over, which is over.
    fn adopt(&mut self, sequence: SequenceId, from: SequenceId, keep: u32) -> Result<(), KvError> {
        let can = |s: &StateSequence| s.stem_len == keep && s.chains.is_empty();
        if !self.sequences.get(&from).is_some_and(can) {
            return Err(KvError::Unknown(from));
        }
        if from != sequence {
            ids::refuse_known(&self.sequences, sequence)?;
        }
        let stem = self.sequences.remove(&from).ok_or(KvError::Unknown(from))?;
        self.sequences.insert(sequence, stem);
        Ok(())
    }

    /// A sequence is over.
    fn release(&mut self, sequence: SequenceId, out: &mut Vec<MemoryOp>) {
        let Some(known) = self.sequences.remove(&sequence) else {
            return;
        };
        for chain in &known.chains {
            drop_chain(chain, &mut self.free, out);
        }
        if let Some(stem) = known.stem {
            ids::drop_id(stem, &mut self.free, out);
        }
    }
}

/// Frees the id of a chain, unless it is the stem's.
fn drop_chain(chain: &StateChain, free: &mut Vec<SeqId>, out: &mut Vec<MemoryOp>) {
    if !chain.in_place {
        ids::drop_id(chain.id, free, out);
    }
}
