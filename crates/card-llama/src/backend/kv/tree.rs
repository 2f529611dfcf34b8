//! The tree of one sequence: its stem, and the cells that hang off the stem's end.

use std::collections::{BTreeMap, HashMap, HashSet};

use card_core::forward::KvCell;

use super::ids;
use crate::sys::memory::{MemoryOp, SeqId};

/// Where a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Index of the token in the sequence.
    pub(super) position: u32,
    /// The cell it follows; `None` for the end of the stem.
    pub(super) parent: Option<KvCell>,
    /// The id whose path ends in this cell or passes through it.
    pub(super) id: SeqId,
}

/// The ids and cells of one sequence.
///
/// Invariants: a parent has a smaller name than its children; the path from the stem's end to a
/// cell belongs to the cell's id; each id here is that of the stem or ends in a cell of `tips`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KvTree {
    /// The id that the stem belongs to, and with it all paths.
    pub(super) stem: SeqId,
    /// Tokens of the stem.
    pub(super) stem_len: u32,
    /// The cells beyond the stem.
    pub(super) cells: BTreeMap<KvCell, Placed>,
    /// Last cell of each id; an id that is not here ends with the stem.
    pub(super) tips: HashMap<SeqId, KvCell>,
}

impl KvTree {
    /// A sequence that holds nothing, with an id for its stem.
    pub(super) fn new(stem: SeqId) -> Self {
        KvTree {
            stem,
            stem_len: 0,
            cells: BTreeMap::new(),
            tips: HashMap::new(),
        }
    }

    /// Whether the sequence holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.stem_len == 0 && self.cells.is_empty()
    }

    /// Frees every id of this tree that is not in `keep`.
    pub(super) fn drop_others(
        &mut self,
        keep: &HashSet<SeqId>,
        free: &mut Vec<SeqId>,
        out: &mut Vec<MemoryOp>,
    ) {
        let mut ids: Vec<SeqId> = self.cells.values().map(|p| p.id).collect();
        ids.push(self.stem);
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if !keep.contains(&id) {
                self.tips.remove(&id);
                ids::drop_id(id, free, out);
            }
        }
    }

    /// Drops everything that hangs off the stem.
    pub(super) fn prune(&mut self, free: &mut Vec<SeqId>, out: &mut Vec<MemoryOp>) {
        let keep = HashSet::from([self.stem]);
        self.drop_others(&keep, free, out);
        self.cells.clear();
        self.tips.clear();
        let (id, start) = (self.stem, self.stem_len);
        out.push(MemoryOp::Remove { id, start });
    }

    /// The path to `tip`, which is `placed`, joins the stem. Of the rest only what descends from
    /// `tip` stays, if `keep_descendants`.
    pub(super) fn commit(
        &mut self,
        tip: KvCell,
        placed: Placed,
        keep_descendants: bool,
        free: &mut Vec<SeqId>,
        out: &mut Vec<MemoryOp>,
    ) {
        let kept = if keep_descendants {
            self.below(tip)
        } else {
            BTreeMap::new()
        };
        let mut ids: HashSet<SeqId> = kept.values().map(|p| p.id).collect();
        let shared = ids.contains(&placed.id);
        ids.insert(placed.id);
        self.drop_others(&ids, free, out);
        self.tips.retain(|_, cell| kept.contains_key(cell));
        self.cells = kept;
        self.stem = placed.id;
        self.stem_len = placed.position + 1;
        if !shared {
            out.push(MemoryOp::Remove {
                id: placed.id,
                start: self.stem_len,
            });
        }
    }

    /// The cells that descend from `tip`, as they hang off a stem that ends with it.
    fn below(&self, tip: KvCell) -> BTreeMap<KvCell, Placed> {
        let mut kept: BTreeMap<KvCell, Placed> = BTreeMap::new();
        // Parents have smaller names than their children.
        for (&cell, &p) in &self.cells {
            match p.parent {
                Some(parent) if parent == tip => {
                    kept.insert(cell, Placed { parent: None, ..p });
                }
                Some(parent) if kept.contains_key(&parent) => {
                    kept.insert(cell, p);
                }
                _ => {}
            }
        }
        kept
    }
}
