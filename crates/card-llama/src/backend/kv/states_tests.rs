//! The books of states, against a small model of llama.cpp's recurrent memory.

use std::collections::{BTreeMap, HashMap};

use card_core::forward::{KvCell, KvOp, Row};
use card_core::types::SequenceId;

use super::error::KvError;
use super::states::{KvStates, StateSequence};
use super::tests::Dice;
use crate::sys::memory::{MemoryOp, SeqId};

const S: SequenceId = SequenceId(1);

/// What an id holds.
#[derive(Clone, Default)]
struct HeldState {
    tokens: Vec<u32>,
    /// Rows of the forward that decoded the last token: there are snapshots of all but the first.
    last_rows: usize,
    /// It was turned back, and not decoded since.
    turned_back: bool,
}

/// llama.cpp's memory of a recurrent model, as far as ids go. What llama.cpp refuses, or does wrong
/// without a word, is a failure here.
struct StateMemory {
    ids: HashMap<SeqId, HeldState>,
    snapshots: usize,
}

impl StateMemory {
    fn new(snapshots: u32) -> Self {
        StateMemory {
            ids: HashMap::new(),
            snapshots: snapshots as usize,
        }
    }

    fn run(&mut self, ops: &mut Vec<MemoryOp>) {
        for op in ops.drain(..) {
            match op {
                MemoryOp::Copy { .. } => panic!("a part of a state cannot be copied"),
                MemoryOp::CopyAll { from, to } => {
                    assert!(!self.ids.contains_key(&to), "{to} is taken");
                    let held = self.ids[&from].clone();
                    assert!(!held.turned_back, "llama.cpp forgets that in the copy");
                    let copy = HeldState {
                        last_rows: 0,
                        ..held
                    };
                    self.ids.insert(to, copy);
                }
                MemoryOp::Remove { id, start: 0 } => {
                    self.ids.remove(&id);
                }
                MemoryOp::Remove { id, start } => {
                    let held = self.ids.get_mut(&id).unwrap();
                    let back = held.tokens.len() - start as usize;
                    assert!(back <= self.snapshots && back < held.last_rows);
                    assert!(!held.turned_back);
                    held.tokens.truncate(start as usize);
                    held.turned_back = true;
                }
            }
        }
    }

    fn decode(&mut self, rows: &[Row], ids: &[Vec<SeqId>]) {
        let mut counts: HashMap<SeqId, usize> = HashMap::new();
        for (row, ids) in rows.iter().zip(ids) {
            let [id] = ids[..] else {
                panic!("a state belongs to one id");
            };
            let held = self.ids.entry(id).or_default();
            assert_eq!(held.tokens.len() as u32, row.position);
            held.tokens.push(row.token);
            held.turned_back = false;
            *counts.entry(id).or_default() += 1;
            held.last_rows = counts[&id];
        }
    }

    fn text(&self, id: SeqId) -> &[u32] {
        &self.ids[&id].tokens
    }
}

/// Rows behind `parent`, which is at position `at - 1`; tokens and cells have the same numbers.
fn chain(sequence: SequenceId, at: u32, parent: Option<KvCell>, tokens: &[u32]) -> Vec<Row> {
    let mut parent = parent;
    let row = |(position, &token): (u32, &u32)| {
        let cell = KvCell::from(token);
        Row {
            sequence,
            token,
            position,
            cell,
            parent: parent.replace(cell),
            logits: true,
        }
    };
    (at..).zip(tokens).map(row).collect()
}

fn forward(kv: &mut KvStates, memory: &mut StateMemory, rows: &[Row]) -> SeqId {
    let mut before = Vec::new();
    let ids = kv.place(rows, &mut before).unwrap();
    memory.run(&mut before);
    memory.decode(rows, &ids);
    ids.last().unwrap()[0]
}

fn apply(kv: &mut KvStates, memory: &mut StateMemory, op: KvOp) {
    let mut ops = Vec::new();
    kv.apply(op, &mut ops).unwrap();
    memory.run(&mut ops);
}

fn commit(tip: KvCell, keep_descendants: bool) -> KvOp {
    KvOp::Commit {
        sequence: S,
        tip,
        keep_descendants,
    }
}

#[test]
fn a_forward_stays_as_a_whole_or_is_as_if_it_had_not_been() {
    let (mut kv, mut memory) = (KvStates::new(3, 0), StateMemory::new(0));
    forward(&mut kv, &mut memory, &chain(S, 0, None, &[1, 2]));
    apply(&mut kv, &mut memory, commit(2, false));
    forward(&mut kv, &mut memory, &chain(S, 2, None, &[3, 4, 5]));
    let refused = kv.apply(commit(4, false), &mut Vec::new());
    assert_eq!(refused, Err(KvError::Gone(S)));
    apply(&mut kv, &mut memory, KvOp::Prune { sequence: S });
    let id = forward(&mut kv, &mut memory, &chain(S, 2, None, &[6, 7]));
    assert_eq!(memory.text(id), [1, 2, 6, 7]);
    apply(&mut kv, &mut memory, commit(7, false));
    assert_eq!(kv.free.len(), 2);
    apply(&mut kv, &mut memory, KvOp::Release { sequence: S });
    assert_eq!((kv.free.len(), memory.ids.len()), (3, 0));
}

#[test]
fn each_drafted_token_can_be_gone_back_to() {
    for (tip, keep) in [(11, false), (12, true), (13, true)] {
        let (mut kv, mut memory) = (KvStates::new(6, 0), StateMemory::new(0));
        forward(&mut kv, &mut memory, &chain(S, 0, None, &[1, 2]));
        apply(&mut kv, &mut memory, commit(2, false));
        let mut parent = None;
        for (at, cell) in (2..).zip([11, 12, 13]) {
            forward(&mut kv, &mut memory, &chain(S, at, parent, &[cell]));
            parent = Some(KvCell::from(cell));
        }
        apply(&mut kv, &mut memory, commit(tip, keep));
        let stem = kv.sequences[&S].stem.unwrap();
        let length = 2 + (tip - 10) as usize;
        assert_eq!(memory.text(stem), &[1, 2, 11, 12, 13][..length]);
        // What followed is still there, if it shall be.
        let left = if keep { 13 - tip as usize } else { 0 };
        assert_eq!(kv.sequences[&S].chains.len(), left);
        assert_eq!(kv.free.len(), 6 - 1 - left);
    }
}

#[test]
fn a_stem_that_was_turned_back_is_decoded_in_place_and_not_copied() {
    let (mut kv, mut memory) = (KvStates::new(3, 2), StateMemory::new(2));
    forward(&mut kv, &mut memory, &chain(S, 0, None, &[1, 2, 3, 4]));
    assert_eq!(
        kv.apply(commit(1, false), &mut Vec::new()),
        Err(KvError::Gone(S))
    );
    apply(&mut kv, &mut memory, commit(2, false));
    let share = |sequence, keep| KvOp::Share {
        sequence: SequenceId(sequence),
        from: S,
        keep,
    };
    assert_eq!(
        kv.apply(share(2, 2), &mut Vec::new()),
        Err(KvError::Gone(S))
    );
    let stem = kv.sequences[&S].stem.unwrap();
    let id = forward(&mut kv, &mut memory, &chain(S, 2, None, &[5, 6]));
    assert_eq!((id, memory.text(id)), (stem, &[1, 2, 5, 6][..]));
    assert!(kv.change_a_stem(&chain(S, 2, None, &[5, 6])));
    // There is nothing to go back to, and no second chain.
    let prune = KvOp::Prune { sequence: S };
    assert_eq!(kv.apply(prune, &mut Vec::new()), Err(KvError::Gone(S)));
    let second = kv.place(&chain(S, 2, None, &[7]), &mut Vec::new());
    assert_eq!(second, Err(KvError::Gone(S)));
    apply(&mut kv, &mut memory, commit(6, false));
    // From here on there is.
    apply(&mut kv, &mut memory, share(2, 4));
    forward(&mut kv, &mut memory, &chain(S, 4, None, &[8]));
    apply(&mut kv, &mut memory, prune);
    assert_eq!(memory.text(stem), [1, 2, 5, 6]);
    let other = kv.sequences[&SequenceId(2)].stem.unwrap();
    assert_eq!(memory.text(other), [1, 2, 5, 6]);
}

#[test]
fn stems_are_taken_whole() {
    let (mut kv, mut memory) = (KvStates::new(4, 0), StateMemory::new(0));
    forward(&mut kv, &mut memory, &chain(S, 0, None, &[1, 2, 3]));
    apply(&mut kv, &mut memory, commit(3, false));
    let to = SequenceId(2);
    for keep in [0, 2, 4] {
        let sequence = to;
        let adopt = KvOp::Adopt {
            sequence,
            from: S,
            keep,
        };
        let share = KvOp::Share {
            sequence,
            from: S,
            keep,
        };
        for op in [adopt, share] {
            assert_eq!(kv.apply(op, &mut Vec::new()), Err(KvError::Unknown(S)));
        }
    }
    let adopt = KvOp::Adopt {
        sequence: to,
        from: S,
        keep: 3,
    };
    apply(&mut kv, &mut memory, adopt);
    let id = forward(&mut kv, &mut memory, &chain(to, 3, None, &[4]));
    assert_eq!(memory.text(id), [1, 2, 3, 4]);
    assert!(!kv.sequences.contains_key(&S));
}

#[test]
fn rows_that_are_no_chain_or_find_no_id_change_nothing() {
    let (mut kv, mut memory) = (KvStates::new(2, 0), StateMemory::new(0));
    forward(&mut kv, &mut memory, &chain(S, 0, None, &[1]));
    let before = kv.sequences.clone();
    let tree = [chain(S, 1, Some(1), &[2]), chain(S, 1, Some(1), &[3])].concat();
    let apart = [
        chain(S, 1, Some(1), &[2]),
        chain(SequenceId(2), 0, None, &[9]),
        chain(S, 2, Some(2), &[3]),
    ]
    .concat();
    let unknown = [
        tree,
        chain(S, 5, None, &[2]),
        chain(S, 1, Some(7), &[2]),
        chain(S, 0, None, &[1]),
    ];
    for rows in unknown {
        let refused = kv.place(&rows, &mut Vec::new());
        assert_eq!(refused, Err(KvError::Unknown(S)), "{rows:?}");
    }
    // The first row takes the last id.
    let refused = kv.place(&apart, &mut Vec::new());
    assert_eq!(refused, Err(KvError::NoIds(SequenceId(2))));
    assert_eq!((kv.sequences.clone(), kv.free.len()), (before, 1));
    // A forward that failed is taken back.
    let rows = chain(S, 1, Some(1), &[2, 3]);
    let mut ops = Vec::new();
    kv.place(&rows, &mut ops).unwrap();
    memory.run(&mut ops);
    kv.undo(&rows, &mut ops);
    memory.run(&mut ops);
    let id = forward(&mut kv, &mut memory, &rows);
    assert_eq!(memory.text(id), [1, 2, 3]);
}

/// A core that asks for what it likes, and what the text of each stem and cell is.
struct Wild {
    dice: Dice,
    next: u32,
    stems: BTreeMap<u64, Vec<u32>>,
    cells: HashMap<KvCell, Vec<u32>>,
}

impl Wild {
    fn sequence(&mut self) -> SequenceId {
        SequenceId(self.dice.below(4) as u64)
    }

    /// Chains of a few sequences, mostly such that can be placed.
    fn rows(&mut self, kv: &KvStates) -> Vec<Row> {
        let mut rows = Vec::new();
        for sequence in 0..4 {
            if self.dice.below(2) == 0 {
                continue;
            }
            let sequence = SequenceId(sequence);
            let known = kv.sequences.get(&sequence);
            let mut parents = vec![(None, known.map_or(0, |s| s.stem_len))];
            for chain in known.iter().flat_map(|s| &s.chains) {
                let tip = chain.cells[self.dice.below(chain.cells.len())];
                parents.push((Some(tip), self.cells[&tip].len() as u32));
            }
            let (parent, at) = self.dice.pick(&parents).unwrap();
            let count = 1 + self.dice.below(4) as u32;
            let tokens: Vec<u32> = (0..count).map(|i| self.next + i).collect();
            self.next += count;
            rows.extend(chain(sequence, at, parent, &tokens));
        }
        rows
    }

    fn op(&mut self, kv: &KvStates) -> KvOp {
        let sequence = self.sequence();
        let from = self.sequence();
        let known = kv.sequences.get(&sequence);
        let cells = known.iter().flat_map(|s| &s.chains);
        let cells: Vec<KvCell> = cells.flat_map(|c| c.cells.clone()).collect();
        let keep = kv.sequences.get(&from).map_or(0, |s| s.stem_len);
        match self.dice.below(10) {
            0..6 => KvOp::Commit {
                sequence,
                tip: self.dice.pick(&cells).unwrap_or(1),
                keep_descendants: self.dice.below(2) == 0,
            },
            6 => KvOp::Prune { sequence },
            7 => KvOp::Share {
                sequence,
                from,
                keep,
            },
            8 => KvOp::Adopt {
                sequence,
                from,
                keep,
            },
            _ => KvOp::Release { sequence },
        }
    }

    /// What an operation that was done means for the texts.
    fn note(&mut self, op: KvOp) {
        match op {
            KvOp::Commit { sequence, tip, .. } => {
                let text = self.cells[&tip].clone();
                self.stems.insert(sequence.0, text);
            }
            KvOp::Share { sequence, from, .. } => {
                let text = self.stems.get(&from.0).cloned().unwrap_or_default();
                self.stems.insert(sequence.0, text);
            }
            KvOp::Adopt { sequence, from, .. } => {
                let text = self.stems.remove(&from.0).unwrap_or_default();
                self.stems.insert(sequence.0, text);
            }
            KvOp::Release { sequence } => {
                self.stems.remove(&sequence.0);
            }
            KvOp::Prune { .. } => {}
            KvOp::Save { .. } | KvOp::Resume { .. } | KvOp::Forget { .. } => {
                panic!("nothing is saved here")
            }
        }
    }

    /// Every id is in one place, and holds what it should.
    fn check(&self, kv: &KvStates, memory: &StateMemory, all: usize) {
        let mut ids = kv.free.clone();
        for (sequence, known) in &kv.sequences {
            let StateSequence { stem, chains, .. } = known;
            ids.extend(*stem);
            let in_place = chains.iter().any(|c| c.in_place);
            if let Some(stem) = stem.filter(|_| !in_place) {
                assert_eq!(memory.text(stem), self.stems[&sequence.0]);
            }
            for chain in chains {
                let tip = chain.cells.last().unwrap();
                assert_eq!(memory.text(chain.id), self.cells[tip]);
                ids.extend(Some(chain.id).filter(|_| !chain.in_place));
            }
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..all as SeqId).collect::<Vec<_>>());
        assert!(kv.free.iter().all(|id| !memory.ids.contains_key(id)));
    }
}

#[test]
fn a_sequence_that_goes_on_from_a_saved_state_has_an_id_of_its_own() {
    let (mut kv, mut memory) = (KvStates::new(3, 2), StateMemory::new(2));
    let other = SequenceId(2);
    let save = |sequence| KvOp::Save { sequence, state: 1 };
    let mut ops = Vec::new();
    assert_eq!(kv.apply(save(S), &mut ops), Err(KvError::Unknown(S)));
    forward(&mut kv, &mut memory, &chain(S, 0, None, &[1, 2, 3]));
    assert_eq!(
        kv.apply(save(S), &mut ops),
        Err(KvError::Unknown(S)),
        "rows hang off the stem"
    );
    apply(&mut kv, &mut memory, commit(3, false));
    kv.apply(save(S), &mut ops).unwrap();
    let resume = |sequence, keep| KvOp::Resume {
        sequence,
        from: S,
        keep,
        state: 1,
    };
    assert_eq!(
        kv.apply(resume(other, 4), &mut ops),
        Err(KvError::Unknown(S)),
        "it is not as long"
    );
    assert_eq!(kv.apply(resume(S, 2), &mut ops), Err(KvError::Unknown(S)));
    assert!(ops.is_empty(), "{ops:?}");
    kv.apply(resume(other, 2), &mut ops).unwrap();
    let (from, to) = (kv.stem_id(S).unwrap(), kv.stem_id(other).unwrap());
    assert_eq!(ops, [MemoryOp::CopyAll { from, to }]);
    assert_eq!(kv.sequences[&other].stem_len, 2);
    // As long as there are ids.
    assert_eq!(kv.apply(resume(SequenceId(3), 2), &mut Vec::new()), Ok(()));
    assert_eq!(
        kv.apply(resume(SequenceId(4), 2), &mut Vec::new()),
        Err(KvError::NoIds(SequenceId(4)))
    );
}

#[test]
fn whatever_is_asked_for_states_hold_their_text_and_no_id_is_lost() {
    for seed in 1..200 {
        let snapshots = (seed % 4) as u32;
        let all = 3 + seed as usize % 9;
        let (mut kv, mut memory) = (KvStates::new(all, snapshots), StateMemory::new(snapshots));
        let mut wild = Wild {
            dice: Dice(seed),
            next: 1,
            stems: BTreeMap::new(),
            cells: HashMap::new(),
        };
        for _ in 0..200 {
            let (books, free) = (kv.sequences.clone(), kv.free.len());
            if wild.dice.below(2) == 0 {
                let rows = wild.rows(&kv);
                let mut ops = Vec::new();
                match kv.place(&rows, &mut ops) {
                    Ok(ids) => {
                        memory.run(&mut ops);
                        memory.decode(&rows, &ids);
                        for row in &rows {
                            let behind = match row.parent {
                                Some(parent) => wild.cells[&parent].clone(),
                                None => {
                                    let stem = wild.stems.get(&row.sequence.0);
                                    stem.cloned().unwrap_or_default()
                                }
                            };
                            let text = [behind, vec![row.token]].concat();
                            wild.cells.insert(row.cell, text);
                        }
                    }
                    Err(_) => assert_eq!((&kv.sequences, kv.free.len()), (&books, free)),
                }
            } else {
                let op = wild.op(&kv);
                let mut ops = Vec::new();
                match kv.apply(op, &mut ops) {
                    Ok(()) => {
                        memory.run(&mut ops);
                        wild.note(op);
                    }
                    Err(_) => assert_eq!((&kv.sequences, kv.free.len()), (&books, free)),
                }
            }
            wild.check(&kv, &memory, all);
        }
    }
}
