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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    position: u32,
    parent: Option<Cell>,
    /// The id whose path ends in this cell or passes through it.
    id: Id,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    stem: Id,
    stem_len: u32,
    cells: BTreeMap<Cell, Placed>,
    /// Last cell of each id; an id that is not here ends with the stem.
    tips: HashMap<Id, Cell>,
}

/// Why something cannot be placed or done. Nothing is changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no id left for this sequence. Others, which need none, can go on.
    NoIds(SequenceId),
    /// It names a sequence or a cell that is not there, or one that is there already.
    Unknown(SequenceId),
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
    /// is the one it attends with), and what to do before decoding.
    ///
    /// # Errors
    /// If there are not enough ids, or a parent is not known.
    pub(crate) fn place(
        &mut self,
        rows: &[Row],
        before: &mut Vec<MemoryOp>,
    ) -> Result<Vec<Vec<Id>>, Refusal> {
        let mut ids: Vec<Vec<Id>> = Vec::with_capacity(rows.len());
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
        let empty = |tree: &Tree| tree.stem_len == 0 && tree.cells.is_empty();
        if self.trees.get(&sequence).is_some_and(empty)
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
                out.push(MemoryOp::Remove { id, start: 0 });
                self.free.push(id);
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

    fn place_all(
        &mut self,
        rows: &[Row],
        ids: &mut Vec<Vec<Id>>,
        before: &mut Vec<MemoryOp>,
    ) -> Result<(), Refusal> {
        let mut row_of: HashMap<Cell, usize> = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            let (no_ids, unknown) = (Refusal::NoIds(row.sequence), Refusal::Unknown(row.sequence));
            if !self.trees.contains_key(&row.sequence) {
                let stem = self.free.pop().ok_or(no_ids)?;
                self.trees.insert(row.sequence, Tree::new(stem));
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
                let id = self.free.pop().ok_or(no_ids)?;
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
    pub(crate) fn stems(&self) -> Option<Vec<(Id, u32)>> {
        let stems = self.trees.values();
        stems
            .map(|t| t.cells.is_empty().then_some((t.stem, t.stem_len)))
            .collect()
    }

    /// Carries out an operation of the core.
    ///
    /// # Errors
    /// If it names what is not there, or there is no id for it.
    pub(crate) fn apply(&mut self, op: KvOp, out: &mut Vec<MemoryOp>) -> Result<(), Refusal> {
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
                Ok(())
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                let owner = self.trees.get(&from).filter(|o| keep <= o.stem_len);
                let from = owner.ok_or(Refusal::Unknown(from))?.stem;
                self.begins(sequence)?;
                let to = self.free.pop().ok_or(Refusal::NoIds(sequence))?;
                let mut tree = Tree::new(to);
                tree.stem_len = keep;
                out.push(MemoryOp::Copy {
                    from,
                    to,
                    end: keep,
                });
                self.trees.insert(sequence, tree);
                Ok(())
            }
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                let can = |tree: &Tree| keep <= tree.stem_len && tree.cells.is_empty();
                if !self.trees.get(&from).is_some_and(can) {
                    return Err(Refusal::Unknown(from));
                }
                if from != sequence {
                    self.begins(sequence)?;
                }
                let mut tree = self.trees.remove(&from).ok_or(Refusal::Unknown(from))?;
                tree.stem_len = keep;
                out.push(MemoryOp::Remove {
                    id: tree.stem,
                    start: keep,
                });
                self.trees.insert(sequence, tree);
                Ok(())
            }
            KvOp::Release { sequence } => {
                if let Some(mut tree) = self.trees.remove(&sequence) {
                    tree.drop_others(&HashSet::new(), &mut self.free, out);
                }
                Ok(())
            }
        }
    }

    /// Refuses a sequence that is there already: a second tree would hide the first, and its
    /// ids would never be free again.
    fn begins(&self, sequence: SequenceId) -> Result<(), Refusal> {
        match self.trees.contains_key(&sequence) {
            true => Err(Refusal::Unknown(sequence)),
            false => Ok(()),
        }
    }

    fn commit(
        &mut self,
        sequence: SequenceId,
        tip: Cell,
        keep_descendants: bool,
        out: &mut Vec<MemoryOp>,
    ) -> Result<(), Refusal> {
        let unknown = Refusal::Unknown(sequence);
        let tree = self.trees.get_mut(&sequence).ok_or(unknown)?;
        let placed = *tree.cells.get(&tip).ok_or(unknown)?;
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
        Ok(())
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
        kv.apply(op, &mut ops).unwrap();
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
        let refused = kv.place(&wide, &mut Vec::new());
        assert_eq!(refused, Err(Refusal::NoIds(S)));
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

    /// Numbers that look random and are the same in every run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n.max(1) as u64) as usize
        }

        fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
            of.get(self.below(of.len())).copied()
        }
    }

    /// Every id is free or in use, and in one place only; what is free holds nothing.
    fn check_ids(kv: &KvTrees, memory: &Memory, all: usize) {
        let mut ids = kv.free.clone();
        for tree in kv.trees.values() {
            let mut used: Vec<Id> = tree.cells.values().map(|p| p.id).collect();
            used.push(tree.stem);
            used.sort_unstable();
            used.dedup();
            ids.extend(used);
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..all as Id).collect::<Vec<_>>());
        for id in &kv.free {
            assert!(memory.0.get(id).is_none_or(BTreeMap::is_empty), "{id}");
        }
    }

    /// What is in the books, but for sequences that hold nothing.
    fn books(kv: &KvTrees) -> BTreeMap<u64, Tree> {
        let full = |t: &Tree| t.stem_len > 0 || !t.cells.is_empty();
        let trees = kv.trees.iter().filter(|t| full(t.1));
        trees.map(|(s, t)| (s.0, t.clone())).collect()
    }

    /// Rows that mostly can be placed, of a few sequences.
    fn some_rows(kv: &KvTrees, dice: &mut Dice, next: &mut Cell) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for _ in 0..=dice.below(5) {
            let sequence = SequenceId(dice.below(5) as u64);
            let tree = kv.trees.get(&sequence);
            let stem = tree.map_or(0, |t| t.stem_len);
            let mut parents: Vec<(Option<Cell>, u32)> = vec![(None, stem)];
            for (&cell, placed) in tree.iter().flat_map(|t| &t.cells) {
                parents.push((Some(cell), placed.position + 1));
            }
            for row in rows.iter().filter(|r| r.sequence == sequence) {
                parents.push((Some(row.cell), row.position + 1));
            }
            let (parent, position) = dice.pick(&parents).unwrap_or((None, stem));
            *next += 1;
            let wrong = dice.below(20) == 0;
            rows.push(Row {
                sequence,
                token: *next as u32,
                position: position + u32::from(wrong),
                cell: *next,
                parent,
                logits: true,
            });
        }
        rows
    }

    fn some_op(kv: &KvTrees, dice: &mut Dice) -> KvOp {
        let sequence = SequenceId(dice.below(5) as u64);
        let from = SequenceId(dice.below(5) as u64);
        let tree = kv.trees.get(&sequence);
        let cells: Vec<Cell> = tree.map_or(Vec::new(), |t| t.cells.keys().copied().collect());
        let stem = kv.trees.get(&from).map_or(0, |t| t.stem_len);
        let keep = dice.below(stem as usize + 2) as u32;
        match dice.below(8) {
            0 => KvOp::Prune { sequence },
            1 => KvOp::Release { sequence },
            2 => KvOp::Share {
                sequence,
                from,
                keep,
            },
            3 => KvOp::Adopt {
                sequence,
                from,
                keep,
            },
            _ => KvOp::Commit {
                sequence,
                tip: dice.pick(&cells).unwrap_or(0),
                keep_descendants: dice.below(2) == 0,
            },
        }
    }

    #[test]
    fn ids_are_neither_lost_nor_given_twice_whatever_is_asked() {
        let mut done = [0; 4];
        for seed in 1..60 {
            let all = 3 + seed as usize % 9;
            let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
            let (mut kv, mut memory) = (KvTrees::new(all), Memory::default());
            let mut next = 0;
            for _ in 0..400 {
                let before_it = books(&kv);
                if dice.below(2) == 0 {
                    let rows = some_rows(&kv, &mut dice, &mut next);
                    let mut before = Vec::new();
                    match kv.place(&rows, &mut before) {
                        Err(_) => {
                            assert!(before.is_empty());
                            assert_eq!(books(&kv), before_it, "a refusal changes nothing");
                            done[0] += 1;
                        }
                        Ok(ids) => {
                            memory.run(&mut before.clone());
                            if dice.below(4) == 0 {
                                // The forward fails.
                                let mut undo = Vec::new();
                                kv.undo(&rows, &before, &mut undo);
                                memory.run(&mut undo);
                                assert_eq!(books(&kv), before_it, "a failure changes nothing");
                            } else {
                                memory.decode(&rows, &ids);
                            }
                            done[1] += 1;
                        }
                    }
                } else {
                    let mut ops = Vec::new();
                    let op = some_op(&kv, &mut dice);
                    match kv.apply(op, &mut ops) {
                        Err(_) => {
                            assert!(ops.is_empty(), "{op:?}");
                            assert_eq!(books(&kv), before_it, "{op:?}");
                            done[2] += 1;
                        }
                        Ok(()) => {
                            memory.run(&mut ops);
                            done[3] += 1;
                        }
                    }
                }
                check_ids(&kv, &memory, all);
            }
        }
        assert!(done.iter().all(|&n| n > 100), "{done:?}");
    }

    #[test]
    fn who_needs_no_id_goes_on_when_there_is_none() {
        let (mut kv, mut memory) = (KvTrees::new(2), Memory::default());
        let of = |sequence, token, position, parent| Row {
            sequence: SequenceId(sequence),
            ..row(token, position, parent)
        };
        forward(&mut kv, &mut memory, &[of(1, 10, 0, None)]);
        forward(&mut kv, &mut memory, &[of(2, 20, 0, None)]);
        let both = [of(1, 11, 1, Some(10)), of(3, 30, 0, None)];
        let refused = kv.place(&both, &mut Vec::new());
        assert_eq!(refused, Err(Refusal::NoIds(SequenceId(3))));
        let share = KvOp::Share {
            sequence: SequenceId(3),
            from: SequenceId(1),
            keep: 0,
        };
        let refused = kv.apply(share, &mut Vec::new());
        assert_eq!(refused, Err(Refusal::NoIds(SequenceId(3))));
        let ids = forward(&mut kv, &mut memory, &both[..1]);
        assert_eq!(memory.text(ids[0][0]), [10, 11]);
        // And when one is given back, the one that was refused begins.
        let release = KvOp::Release {
            sequence: SequenceId(2),
        };
        apply(&mut kv, &mut memory, release);
        forward(&mut kv, &mut memory, &both[1..]);
    }

    #[test]
    fn a_refused_stem_stays_where_it_was() {
        let (mut kv, mut memory) = (KvTrees::new(4), Memory::default());
        forward(&mut kv, &mut memory, &[row(1, 0, None)]);
        let commit = KvOp::Commit {
            sequence: S,
            tip: 1,
            keep_descendants: false,
        };
        apply(&mut kv, &mut memory, commit);
        let adopt = |keep| KvOp::Adopt {
            sequence: SequenceId(2),
            from: S,
            keep,
        };
        let refused = kv.apply(adopt(2), &mut Vec::new());
        assert_eq!(refused, Err(Refusal::Unknown(S)));
        apply(&mut kv, &mut memory, adopt(1));
        let ids = forward(
            &mut kv,
            &mut memory,
            &[Row {
                sequence: SequenceId(2),
                ..row(2, 1, None)
            }],
        );
        assert_eq!(memory.text(ids[0][0]), [1, 2]);
        check_ids(&kv, &memory, 4);
    }
}
