//! Which llama.cpp sequence ids hold which cells.
//!
//! llama.cpp marks each KV cell with sequence ids; a token attends to the cells of its
//! own. Here each sequence of ours has one id for its stem and one more per leaf of its
//! tree, which share the cells of the paths they have in common (`seq_cp` copies no data
//! in a unified cache). This file is bookkeeping only: it says what to do to the cache.

use std::collections::{BTreeMap, HashMap, HashSet};

use card_core::forward::{Cell, KvOp, Row};
use card_core::types::SequenceId;

/// A llama.cpp sequence id.
pub(crate) type Id = i32;

/// A change of llama.cpp's KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryOp {
    /// Cells of `from` before position `end` belong to `to` as well.
    Copy { from: Id, to: Id, end: u32 },
    /// Cells of `id` from position `start` on do not belong to it any more.
    Remove { id: Id, start: u32 },
}

#[derive(Clone, Copy)]
struct Placed {
    position: u32,
    parent: Option<Cell>,
    /// The id whose path ends in this cell or passes through it.
    id: Id,
}

struct Tree {
    stem: Id,
    stem_len: u32,
    cells: BTreeMap<Cell, Placed>,
    /// Last cell of each id; an id that is not here ends with the stem.
    tips: HashMap<Id, Cell>,
}

/// The ids of every sequence. See the [module](self) documentation.
pub(crate) struct KvTrees {
    trees: HashMap<SequenceId, Tree>,
    free: Vec<Id>,
}

impl KvTrees {
    /// With the ids `0..ids`.
    pub(crate) fn new(ids: usize) -> Self {
        KvTrees {
            trees: HashMap::new(),
            free: (0..ids as Id).rev().collect(),
        }
    }

    /// Finds ids for the rows of a forward: for each row, the ids it belongs to (the first
    /// is the one it attends with), and what to do before decoding. `None` if there are
    /// not enough ids, or a parent is not known.
    pub(crate) fn place(
        &mut self,
        rows: &[Row],
        before: &mut Vec<MemoryOp>,
    ) -> Option<Vec<Vec<Id>>> {
        let mut ids: Vec<Vec<Id>> = Vec::with_capacity(rows.len());
        if self.place_all(rows, &mut ids, before).is_none() {
            // Nothing was done to the cache yet, so only the books are put right.
            let placed = ids.len();
            self.undo(&rows[..placed], before, &mut Vec::new());
            return None;
        }
        Some(ids)
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
                out.push(MemoryOp::Remove { id, start: 0 });
                self.free.push(id);
                continue;
            }
            match row.parent {
                Some(parent) => tree.tips.insert(id, parent),
                None => tree.tips.remove(&id),
            };
            out.push(MemoryOp::Remove {
                id,
                start: placed.position,
            });
        }
    }

    fn place_all(
        &mut self,
        rows: &[Row],
        ids: &mut Vec<Vec<Id>>,
        before: &mut Vec<MemoryOp>,
    ) -> Option<()> {
        let mut row_of: HashMap<Cell, usize> = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            if !self.trees.contains_key(&row.sequence) {
                let stem = self.free.pop()?;
                self.trees.insert(row.sequence, Tree::new(stem));
            }
            let tree = self.trees.get_mut(&row.sequence)?;
            let (from, length) = match row.parent {
                None => (tree.stem, tree.stem_len),
                Some(parent) => {
                    let p = tree.cells.get(&parent)?;
                    (p.id, p.position + 1)
                }
            };
            if length != row.position {
                return None;
            }
            let id = if tree.tips.get(&from).copied() == row.parent {
                from
            } else {
                let id = self.free.pop()?;
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
        Some(())
    }

    /// The id and length of every stem; `None` while trees hang off some.
    pub(crate) fn stems(&self) -> Option<Vec<(Id, u32)>> {
        let stems = self.trees.values();
        stems
            .map(|t| t.cells.is_empty().then_some((t.stem, t.stem_len)))
            .collect()
    }

    /// Carries out an operation of the core; `false` if it names what is not there.
    pub(crate) fn apply(&mut self, op: KvOp, out: &mut Vec<MemoryOp>) -> bool {
        match op {
            KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            } => self.commit(sequence, tip, keep_descendants, out),
            KvOp::Prune { sequence } => {
                if let Some(tree) = self.trees.get_mut(&sequence) {
                    let keep = HashSet::from([tree.stem]);
                    tree.drop_others(&keep, &mut self.free, out);
                    tree.cells.clear();
                    tree.tips.clear();
                    let (id, start) = (tree.stem, tree.stem_len);
                    out.push(MemoryOp::Remove { id, start });
                }
                true
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                let Some(owner) = self.trees.get(&from) else {
                    return false;
                };
                if keep > owner.stem_len {
                    return false;
                }
                let from = owner.stem;
                let Some(to) = self.free.pop() else {
                    return false;
                };
                let mut tree = Tree::new(to);
                tree.stem_len = keep;
                out.push(MemoryOp::Copy {
                    from,
                    to,
                    end: keep,
                });
                self.trees.insert(sequence, tree);
                true
            }
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                let Some(mut tree) = self.trees.remove(&from) else {
                    return false;
                };
                if keep > tree.stem_len || !tree.cells.is_empty() {
                    return false;
                }
                tree.stem_len = keep;
                out.push(MemoryOp::Remove {
                    id: tree.stem,
                    start: keep,
                });
                self.trees.insert(sequence, tree);
                true
            }
            KvOp::Release { sequence } => {
                if let Some(mut tree) = self.trees.remove(&sequence) {
                    tree.drop_others(&HashSet::new(), &mut self.free, out);
                }
                true
            }
        }
    }

    fn commit(
        &mut self,
        sequence: SequenceId,
        tip: Cell,
        keep_descendants: bool,
        out: &mut Vec<MemoryOp>,
    ) -> bool {
        let Some(tree) = self.trees.get_mut(&sequence) else {
            return false;
        };
        let Some(&placed) = tree.cells.get(&tip) else {
            return false;
        };
        let mut kept: BTreeMap<Cell, Placed> = BTreeMap::new();
        if keep_descendants {
            // Parents have smaller names than their children.
            for (&cell, &p) in &tree.cells {
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
        }
        let mut ids: HashSet<Id> = kept.values().map(|p| p.id).collect();
        let shared = ids.contains(&placed.id);
        ids.insert(placed.id);
        tree.drop_others(&ids, &mut self.free, out);
        tree.tips.retain(|_, cell| kept.contains_key(cell));
        tree.cells = kept;
        tree.stem = placed.id;
        tree.stem_len = placed.position + 1;
        if !shared {
            out.push(MemoryOp::Remove {
                id: placed.id,
                start: tree.stem_len,
            });
        }
        true
    }
}

impl Tree {
    fn new(stem: Id) -> Self {
        Tree {
            stem,
            stem_len: 0,
            cells: BTreeMap::new(),
            tips: HashMap::new(),
        }
    }

    /// Frees every id of this tree that is not in `keep`.
    fn drop_others(&mut self, keep: &HashSet<Id>, free: &mut Vec<Id>, out: &mut Vec<MemoryOp>) {
        let mut ids: Vec<Id> = self.cells.values().map(|p| p.id).collect();
        ids.push(self.stem);
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if !keep.contains(&id) {
                out.push(MemoryOp::Remove { id, start: 0 });
                self.tips.remove(&id);
                free.push(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SequenceId = SequenceId(1);

    fn row(token: u32, position: u32, parent: Option<Cell>) -> Row {
        Row {
            sequence: S,
            token,
            position,
            cell: Cell::from(token),
            parent,
            logits: true,
        }
    }

    /// llama.cpp's KV cache as far as ids go: which (position, token) each id holds.
    #[derive(Default)]
    struct Memory(HashMap<Id, BTreeMap<u32, u32>>);

    impl Memory {
        fn run(&mut self, ops: &mut Vec<MemoryOp>) {
            for op in ops.drain(..) {
                match op {
                    MemoryOp::Copy { from, to, end } => {
                        assert!(self.0.get(&to).is_none_or(BTreeMap::is_empty));
                        let path = self.0.entry(from).or_default().range(..end);
                        let path = path.map(|(a, b)| (*a, *b)).collect();
                        self.0.insert(to, path);
                    }
                    MemoryOp::Remove { id, start } => {
                        self.0.entry(id).or_default().retain(|p, _| *p < start);
                    }
                }
            }
        }

        fn decode(&mut self, rows: &[Row], ids: &[Vec<Id>]) {
            for (row, ids) in rows.iter().zip(ids) {
                for id in ids {
                    let held = self.0.entry(*id).or_default();
                    // llama.cpp refuses gaps.
                    assert_eq!(held.len() as u32, row.position);
                    held.insert(row.position, row.token);
                }
            }
        }

        fn text(&self, id: Id) -> Vec<u32> {
            self.0[&id].values().copied().collect()
        }
    }

    fn forward(kv: &mut KvTrees, memory: &mut Memory, rows: &[Row]) -> Vec<Vec<Id>> {
        let mut before = Vec::new();
        let ids = kv.place(rows, &mut before).unwrap();
        memory.run(&mut before);
        memory.decode(rows, &ids);
        ids
    }

    fn apply(kv: &mut KvTrees, memory: &mut Memory, op: KvOp) {
        let mut ops = Vec::new();
        assert!(kv.apply(op, &mut ops));
        memory.run(&mut ops);
    }

    #[test]
    fn each_path_is_whole_and_what_is_dropped_is_free_again() {
        let (mut kv, mut memory) = (KvTrees::new(4), Memory::default());
        forward(
            &mut kv,
            &mut memory,
            &[row(10, 0, None), row(11, 1, Some(10))],
        );
        let commit = |tip, keep| KvOp::Commit {
            sequence: S,
            tip,
            keep_descendants: keep,
        };
        apply(&mut kv, &mut memory, commit(11, false));
        // A tree: 20 → (21 → 22, 23), beside it 24.
        let rows = [
            row(20, 2, None),
            row(21, 3, Some(20)),
            row(22, 4, Some(21)),
            row(23, 3, Some(20)),
            row(24, 4, Some(23)),
        ];
        let ids = forward(&mut kv, &mut memory, &rows);
        assert_eq!(memory.text(ids[2][0]), [10, 11, 20, 21, 22]);
        assert_eq!(memory.text(ids[4][0]), [10, 11, 20, 23, 24]);
        // Later, another branch from a cell in the middle.
        let late = forward(&mut kv, &mut memory, &[row(30, 4, Some(21))]);
        assert_eq!(memory.text(late[0][0]), [10, 11, 20, 21, 30]);
        // 21 is committed: 22 and 30 live on, 23 and 24 are gone.
        apply(&mut kv, &mut memory, commit(21, true));
        let more = [row(40, 5, Some(30)), row(41, 5, Some(22)), row(42, 4, None)];
        let ids = forward(&mut kv, &mut memory, &more);
        assert_eq!(memory.text(ids[0][0]), [10, 11, 20, 21, 30, 40]);
        assert_eq!(memory.text(ids[1][0]), [10, 11, 20, 21, 22, 41]);
        assert_eq!(memory.text(ids[2][0]), [10, 11, 20, 21, 42]);
        apply(&mut kv, &mut memory, commit(40, false));
        assert_eq!(kv.free.len(), 3);
        apply(&mut kv, &mut memory, KvOp::Release { sequence: S });
        assert_eq!(kv.free.len(), 4);
        assert!(memory.0.values().all(BTreeMap::is_empty));
    }

    #[test]
    fn too_many_branches_change_nothing() {
        let (mut kv, mut memory) = (KvTrees::new(2), Memory::default());
        forward(&mut kv, &mut memory, &[row(1, 0, None)]);
        let wide = [
            row(2, 1, Some(1)),
            row(3, 1, Some(1)),
            row(4, 2, Some(3)),
            row(5, 1, Some(1)),
        ];
        assert!(kv.place(&wide, &mut Vec::new()).is_none());
        assert_eq!(kv.free.len(), 1);
        let ids = forward(&mut kv, &mut memory, &wide[..3]);
        assert_eq!(memory.text(ids[2][0]), [1, 3, 4]);
        // A forward that failed is taken back.
        let next = [row(6, 2, Some(2))];
        let mut before = Vec::new();
        kv.place(&next, &mut before).unwrap();
        let mut undo = Vec::new();
        kv.undo(&next, &before, &mut undo);
        memory.run(&mut undo);
        let ids = forward(&mut kv, &mut memory, &next);
        assert_eq!(memory.text(ids[0][0]), [1, 2, 6]);
    }
}
