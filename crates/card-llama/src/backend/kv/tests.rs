//! The books of sequence ids, against a small model of llama.cpp's KV cache.

use std::collections::{BTreeMap, HashMap};

use card_core::forward::{KvCell, KvOp, Row};
use card_core::types::SequenceId;

use super::error::KvError;
use super::tree::KvTree;
use super::trees::KvTrees;
use crate::sys::memory::{MemoryOp, SeqId};

const S: SequenceId = SequenceId(1);

fn row(token: u32, position: u32, parent: Option<KvCell>) -> Row {
    Row {
        sequence: S,
        token,
        position,
        cell: KvCell::from(token),
        parent,
        logits: true,
    }
}

/// llama.cpp's KV cache as far as ids go: which (position, token) each id holds.
#[derive(Default)]
struct KvMemory(HashMap<SeqId, BTreeMap<u32, u32>>);

impl KvMemory {
    fn run(&mut self, ops: &mut Vec<MemoryOp>) {
        for op in ops.drain(..) {
            match op {
                MemoryOp::Copy { from, to, end } => {
                    assert!(self.0.get(&to).is_none_or(BTreeMap::is_empty));
                    let path = self.0.entry(from).or_default().range(..end);
                    let path = path.map(|(a, b)| (*a, *b)).collect();
                    self.0.insert(to, path);
                }
                MemoryOp::CopyAll { .. } => panic!("a tree shares paths, not whole ids"),
                MemoryOp::Remove { id, start } => {
                    self.0.entry(id).or_default().retain(|p, _| *p < start);
                }
            }
        }
    }

    fn decode(&mut self, rows: &[Row], ids: &[Vec<SeqId>]) {
        for (row, ids) in rows.iter().zip(ids) {
            for id in ids {
                let held = self.0.entry(*id).or_default();
                // llama.cpp refuses gaps.
                assert_eq!(held.len() as u32, row.position);
                held.insert(row.position, row.token);
            }
        }
    }

    fn text(&self, id: SeqId) -> Vec<u32> {
        self.0[&id].values().copied().collect()
    }
}

fn forward(kv: &mut KvTrees, memory: &mut KvMemory, rows: &[Row]) -> Vec<Vec<SeqId>> {
    let mut before = Vec::new();
    let ids = kv.place(rows, &mut before).unwrap();
    memory.run(&mut before);
    memory.decode(rows, &ids);
    ids
}

fn apply(kv: &mut KvTrees, memory: &mut KvMemory, op: KvOp) {
    let mut ops = Vec::new();
    kv.apply(op, &mut ops).unwrap();
    memory.run(&mut ops);
}

#[test]
fn each_path_is_whole_and_what_is_dropped_is_free_again() {
    let (mut kv, mut memory) = (KvTrees::new(4), KvMemory::default());
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
    let (mut kv, mut memory) = (KvTrees::new(2), KvMemory::default());
    forward(&mut kv, &mut memory, &[row(1, 0, None)]);
    let wide = [
        row(2, 1, Some(1)),
        row(3, 1, Some(1)),
        row(4, 2, Some(3)),
        row(5, 1, Some(1)),
    ];
    let refused = kv.place(&wide, &mut Vec::new());
    assert_eq!(refused, Err(KvError::NoIds(S)));
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
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())).copied()
    }
}

/// Every id is free or in use, and in one place only; what is free holds nothing.
fn check_ids(kv: &KvTrees, memory: &KvMemory, all: usize) {
    let mut ids = kv.free.clone();
    for tree in kv.trees.values() {
        let mut used: Vec<SeqId> = tree.cells.values().map(|p| p.id).collect();
        used.push(tree.stem);
        used.sort_unstable();
        used.dedup();
        ids.extend(used);
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..all as SeqId).collect::<Vec<_>>());
    for id in &kv.free {
        assert!(memory.0.get(id).is_none_or(BTreeMap::is_empty), "{id}");
    }
}

/// What is in the books, but for sequences that hold nothing.
fn books(kv: &KvTrees) -> BTreeMap<u64, KvTree> {
    let full = |t: &KvTree| t.stem_len > 0 || !t.cells.is_empty();
    let trees = kv.trees.iter().filter(|t| full(t.1));
    trees.map(|(s, t)| (s.0, t.clone())).collect()
}

/// Rows that mostly can be placed, of a few sequences.
fn some_rows(kv: &KvTrees, dice: &mut Dice, next: &mut KvCell) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..=dice.below(5) {
        let sequence = SequenceId(dice.below(5) as u64);
        let tree = kv.trees.get(&sequence);
        let stem = tree.map_or(0, |t| t.stem_len);
        let mut parents: Vec<(Option<KvCell>, u32)> = vec![(None, stem)];
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
    let cells: Vec<KvCell> = tree.map_or(Vec::new(), |t| t.cells.keys().copied().collect());
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
        let (mut kv, mut memory) = (KvTrees::new(all), KvMemory::default());
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
    let (mut kv, mut memory) = (KvTrees::new(2), KvMemory::default());
    let of = |sequence, token, position, parent| Row {
        sequence: SequenceId(sequence),
        ..row(token, position, parent)
    };
    forward(&mut kv, &mut memory, &[of(1, 10, 0, None)]);
    forward(&mut kv, &mut memory, &[of(2, 20, 0, None)]);
    let both = [of(1, 11, 1, Some(10)), of(3, 30, 0, None)];
    let refused = kv.place(&both, &mut Vec::new());
    assert_eq!(refused, Err(KvError::NoIds(SequenceId(3))));
    let share = KvOp::Share {
        sequence: SequenceId(3),
        from: SequenceId(1),
        keep: 0,
    };
    let refused = kv.apply(share, &mut Vec::new());
    assert_eq!(refused, Err(KvError::NoIds(SequenceId(3))));
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
    let (mut kv, mut memory) = (KvTrees::new(4), KvMemory::default());
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
    assert_eq!(refused, Err(KvError::Unknown(S)));
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
