//! Which llama.cpp sequence ids hold which cells.
//!
//! llama.cpp marks each KV cell with sequence ids; a token attends to the cells of its
//! own. Here each sequence of ours has one id for its stem and one more per leaf of its
//! tree, which share the cells of the paths they have in common (`seq_cp` copies no data
//! in a unified cache). So one forward verifies a whole tree of candidates, and no mask has to
//! be made (tree attention as in SpecInfer, arXiv 2305.09781, with llama.cpp's own mask).
//!
//! This file is bookkeeping only: it says what to do to the cache.

use std::collections::{HashMap, HashSet};

use card_core::forward::{KvCell, KvOp, Row};
use card_core::types::SequenceId;

use super::error::KvError;
use super::ids;
use super::tree::{KvTree, Placed};
use crate::sys::memory::{MemoryOp, SeqId};

/// The ids of every sequence. See the [module](self) documentation.
///
/// Invariants: every id is either free or used by exactly one tree; a free id marks no cell. A
/// refusal changes nothing.
pub(crate) struct KvTrees {
    pub(super) trees: HashMap<SequenceId, KvTree>,
    pub(super) free: Vec<SeqId>,
}

impl KvTrees {
    /// With the ids `0..ids`.
    pub(crate) fn new(ids: usize) -> Self {
        KvTrees {
            trees: HashMap::new(),
            free: ids::all(ids),
        }
    }

    /// Finds ids for the rows of a forward: for each row, the ids it belongs to (the first
    /// is the one it attends with), and what to do before decoding.
    ///
    /// # Errors
    /// If there are not enough ids, or a parent is not known.
    pub(crate) fn place(
        &mut self,
        rows: &[Row],
        before: &mut Vec<MemoryOp>,
    ) -> Result<Vec<Vec<SeqId>>, KvError> {
        let mut ids: Vec<Vec<SeqId>> = Vec::with_capacity(rows.len());
        if let Err(refusal) = self.place_all(rows, &mut ids, before) {
            // Nothing was done to the cache yet, so only the books are put right. The row that
            // was refused may have begun a sequence.
            let (placed, refused) = rows.split_at(ids.len());
            self.undo(placed, before, &mut Vec::new());
            if let Some(row) = refused.first() {
                self.forget_empty(row.sequence, &mut Vec::new());
            }
            before.clear();
            return Err(refusal);
        }
        Ok(ids)
    }

    /// Gives back the id of a sequence that holds nothing.
    fn forget_empty(&mut self, sequence: SequenceId, out: &mut Vec<MemoryOp>) {
        if self.trees.get(&sequence).is_some_and(KvTree::is_empty)
            && let Some(mut tree) = self.trees.remove(&sequence)
        {
            tree.drop_others(&HashSet::new(), &mut self.free, out);
        }
    }

    /// Takes back [`KvTrees::place`] after a forward that failed.
    pub(crate) fn undo(&mut self, rows: &[Row], before: &[MemoryOp], out: &mut Vec<MemoryOp>) {
        for row in rows.iter().rev() {
            let Some(tree) = self.trees.get_mut(&row.sequence) else {
                continue;
            };
            let Some(placed) = tree.cells.remove(&row.cell) else {
                continue;
            };
            let id = placed.id;
            let fresh = |op: &MemoryOp| matches!(op, MemoryOp::Copy { to, .. } if *to == id);
            let parent = row
                .parent
                .filter(|p| tree.cells.get(p).is_some_and(|p| p.id == id));
            if before.iter().any(fresh) && parent.is_none() {
                tree.tips.remove(&id);
                ids::drop_id(id, &mut self.free, out);
            } else {
                match row.parent {
                    Some(parent) => tree.tips.insert(id, parent),
                    None => tree.tips.remove(&id),
                };
                out.push(MemoryOp::Remove {
                    id,
                    start: placed.position,
                });
            }
            self.forget_empty(row.sequence, out);
        }
    }

    /// Places the rows one after the other; on a refusal those before it are in the books, and
    /// in `ids`.
    fn place_all(
        &mut self,
        rows: &[Row],
        ids: &mut Vec<Vec<SeqId>>,
        before: &mut Vec<MemoryOp>,
    ) -> Result<(), KvError> {
        let mut row_of: HashMap<KvCell, usize> = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            let unknown = KvError::Unknown(row.sequence);
            if !self.trees.contains_key(&row.sequence) {
                let stem = ids::take(&mut self.free, row.sequence)?;
                self.trees.insert(row.sequence, KvTree::new(stem));
            }
            let tree = self.trees.get_mut(&row.sequence).ok_or(unknown)?;
            let (from, length) = match row.parent {
                None => (tree.stem, tree.stem_len),
                Some(parent) => {
                    let p = tree.cells.get(&parent).ok_or(unknown)?;
                    (p.id, p.position + 1)
                }
            };
            if length != row.position || tree.cells.contains_key(&row.cell) {
                return Err(unknown);
            }
            let id = if tree.tips.get(&from).copied() == row.parent {
                from
            } else {
                let id = ids::take(&mut self.free, row.sequence)?;
                // Cells from before are copied now; rows of this forward on the path get
                // the new id as well.
                let mut end = length;
                let mut at = row.parent;
                while let Some(cell) = at
                    && let Some(&r) = row_of.get(&cell)
                {
                    ids[r].push(id);
                    end = rows[r].position;
                    at = rows[r].parent;
                }
                before.push(MemoryOp::Copy { from, to: id, end });
                id
            };
            tree.tips.insert(id, row.cell);
            tree.cells.insert(
                row.cell,
                Placed {
                    position: row.position,
                    parent: row.parent,
                    id,
                },
            );
            row_of.insert(row.cell, i);
            ids.push(vec![id]);
        }
        Ok(())
    }

    /// The id and length of every stem; `None` while trees hang off some.
    pub(crate) fn stems(&self) -> Option<Vec<(SeqId, u32)>> {
        let stems = self.trees.values();
        stems
            .map(|t| t.cells.is_empty().then_some((t.stem, t.stem_len)))
            .collect()
    }

    /// Carries out an operation of the core.
    ///
    /// # Errors
    /// If it names what is not there, or there is no id for it.
    pub(crate) fn apply(&mut self, op: KvOp, out: &mut Vec<MemoryOp>) -> Result<(), KvError> {
        match op {
            KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            } => self.commit(sequence, tip, keep_descendants, out),
            KvOp::Prune { sequence } => {
                if let Some(tree) = self.trees.get_mut(&sequence) {
                    tree.prune(&mut self.free, out);
                }
                Ok(())
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => self.share(sequence, from, keep, out),
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => self.adopt(sequence, from, keep, out),
            KvOp::Release { sequence } => {
                if let Some(mut tree) = self.trees.remove(&sequence) {
                    tree.drop_others(&HashSet::new(), &mut self.free, out);
                }
                Ok(())
            }
            // There is no state but the cells.
            KvOp::Save { sequence, .. } | KvOp::Resume { sequence, .. } => {
                Err(KvError::Gone(sequence))
            }
            KvOp::Forget { .. } => Ok(()),
        }
    }

    /// A new sequence begins with the first `keep` tokens of the stem of `from`, which keeps them.
    fn share(
        &mut self,
        sequence: SequenceId,
        from: SequenceId,
        keep: u32,
        out: &mut Vec<MemoryOp>,
    ) -> Result<(), KvError> {
        let owner = self.trees.get(&from).filter(|o| keep <= o.stem_len);
        let from = owner.ok_or(KvError::Unknown(from))?.stem;
        ids::refuse_known(&self.trees, sequence)?;
        let to = ids::take(&mut self.free, sequence)?;
        let mut tree = KvTree::new(to);
        tree.stem_len = keep;
        out.push(MemoryOp::Copy {
            from,
            to,
            end: keep,
        });
        self.trees.insert(sequence, tree);
        Ok(())
    }

    /// A sequence takes the stem of `from` over, which is over, and keeps its first `keep` tokens.
    fn adopt(
        &mut self,
        sequence: SequenceId,
        from: SequenceId,
        keep: u32,
        out: &mut Vec<MemoryOp>,
    ) -> Result<(), KvError> {
        let can = |tree: &KvTree| keep <= tree.stem_len && tree.cells.is_empty();
        if !self.trees.get(&from).is_some_and(can) {
            return Err(KvError::Unknown(from));
        }
        if from != sequence {
            ids::refuse_known(&self.trees, sequence)?;
        }
        let mut tree = self.trees.remove(&from).ok_or(KvError::Unknown(from))?;
        tree.stem_len = keep;
        out.push(MemoryOp::Remove {
            id: tree.stem,
            start: keep,
        });
        self.trees.insert(sequence, tree);
        Ok(())
    }

    fn commit(
        &mut self,
        sequence: SequenceId,
        tip: KvCell,
        keep_descendants: bool,
        out: &mut Vec<MemoryOp>,
    ) -> Result<(), KvError> {
        let unknown = KvError::Unknown(sequence);
        let tree = self.trees.get_mut(&sequence).ok_or(unknown)?;
        let placed = *tree.cells.get(&tip).ok_or(unknown)?;
        tree.commit(tip, placed, keep_descendants, &mut self.free, out);
        Ok(())
    }
}
