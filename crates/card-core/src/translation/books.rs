//! Where in the draft model's KV cache each target token ends.
//!
//! The caller sees sequences of target tokens: a stem, and cells that hang off its end. The draft
//! model holds the same sequences in its own tokens, of which there are more. Between the two,
//! the books keep for each target token how many draft tokens its text has up to and with it, and
//! for a token that is a cell the draft model's cell of its last piece. So every operation on the
//! caller's KV cache is one operation on the draft model's.
//!
//! A text of n target tokens may have more than n draft tokens, and outgrow the draft model's
//! context before it outgrows the caller's. Tokens from there on are *not held*: the draft model
//! never hears of them, and has nothing to say after them. The books go on, so that the sequence
//! can be cut back ([`KvOp::Adopt`]) to a part that is held.

use std::collections::{BTreeMap, HashMap};

use crate::forward::{KvCell, KvOp, ModelError, Row};
use crate::types::SequenceId;

/// Where the draft model holds a target token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The draft model's cell of the last piece.
    pub(super) cell: KvCell,
    /// Draft tokens of the text up to and with that piece.
    pub(super) end: u32,
}

/// Where the first piece of a target token goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The draft model's cell that it follows; `None` for the end of the stem.
    pub(super) parent: Option<KvCell>,
    /// Its index in the sequence of draft tokens.
    pub(super) position: u32,
}

/// A target token that hangs off the stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlacedTokens {
    parent: Option<KvCell>,
    position: u32,
    held: Option<Held>,
}

/// One sequence. Invariants: a parent has a smaller name than its children; what follows a token
/// that is not held is not held either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct BookSequence {
    /// Draft tokens of the text up to and with each token of the stem, as far as it is held.
    ends: Vec<u32>,
    /// Tokens of the stem, held or not.
    length: u32,
    cells: BTreeMap<KvCell, PlacedTokens>,
}

impl BookSequence {
    /// Draft tokens of the first `keep` tokens of the stem, as far as they are held.
    fn held_up_to(&self, keep: u32) -> u32 {
        let held = self.ends.len().min(keep as usize);
        held.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// The cells from `tip` up to the stem.
    fn path(&self, tip: KvCell) -> Vec<PlacedTokens> {
        let path = std::iter::successors(self.cells.get(&tip), |placed| {
            self.cells.get(&placed.parent?)
        });
        path.copied().collect()
    }

    /// The first `keep` tokens of the stem alone.
    fn cut(&self, keep: u32) -> BookSequence {
        let held = self.ends.len().min(keep as usize);
        BookSequence {
            ends: self.ends[..held].to_vec(),
            length: keep,
            cells: BTreeMap::new(),
        }
    }

    fn commit(&mut self, tip: KvCell, keep_descendants: bool) {
        let path = self.path(tip);
        self.length += path.len() as u32;
        let held = path.iter().rev().map_while(|placed| placed.held);
        self.ends.extend(held.map(|held| held.end));
        let mut kept: BTreeMap<KvCell, PlacedTokens> = BTreeMap::new();
        let cells = std::mem::take(&mut self.cells);
        for (cell, mut placed) in cells.into_iter().filter(|_| keep_descendants) {
            if placed.parent == Some(tip) {
                placed.parent = None;
            } else if !placed.parent.is_some_and(|p| kept.contains_key(&p)) {
                continue;
            }
            kept.insert(cell, placed);
        }
        self.cells = kept;
    }
}

/// The books of all sequences. See the [module](self) documentation.
#[derive(Debug, Default)]
pub(super) struct Books {
    sequences: HashMap<SequenceId, BookSequence>,
}

impl Books {
    /// Target tokens in the books, of all stems and trees.
    pub(super) fn tokens(&self) -> usize {
        let sequences = self.sequences.values();
        sequences.map(|s| s.length as usize + s.cells.len()).sum()
    }

    /// Forgets every sequence.
    pub(super) fn clear(&mut self) {
        self.sequences.clear();
    }

    /// Where the pieces of a row begin; `None` if the draft model does not hold what the row
    /// follows.
    ///
    /// # Errors
    /// If the row follows a cell that is not there, has another position than follows from that,
    /// or a name that is taken.
    pub(super) fn start(&self, row: &Row) -> Result<Option<Start>, ModelError> {
        let unknown = BookSequence::default();
        let sequence = self.sequences.get(&row.sequence).unwrap_or(&unknown);
        let (position, start) = match row.parent {
            None => {
                let whole = sequence.ends.len() == sequence.length as usize;
                let start = Start {
                    parent: None,
                    position: sequence.held_up_to(sequence.length),
                };
                (sequence.length, whole.then_some(start))
            }
            Some(parent) => {
                let placed = sequence.cells.get(&parent);
                let placed = placed.ok_or_else(|| wrong(row.sequence, "follows no known cell"))?;
                let start = placed.held.map(|held| Start {
                    parent: Some(held.cell),
                    position: held.end,
                });
                (placed.position + 1, start)
            }
        };
        if position != row.position {
            return Err(wrong(row.sequence, "has a position that follows nothing"));
        }
        if sequence.cells.contains_key(&row.cell) {
            return Err(wrong(row.sequence, "names a cell a second time"));
        }
        Ok(start)
    }

    /// Enters a row that is about to be decoded.
    pub(super) fn enter(&mut self, row: &Row, held: Option<Held>) {
        let sequence = self.sequences.entry(row.sequence).or_default();
        let placed = PlacedTokens {
            parent: row.parent,
            position: row.position,
            held,
        };
        sequence.cells.insert(row.cell, placed);
    }

    /// Takes back rows that were entered, since they were not decoded.
    pub(super) fn take_back(&mut self, rows: &[Row]) {
        for row in rows {
            let Some(sequence) = self.sequences.get_mut(&row.sequence) else {
                continue;
            };
            sequence.cells.remove(&row.cell);
            if sequence.length == 0 && sequence.cells.is_empty() {
                self.sequences.remove(&row.sequence);
            }
        }
    }

    /// The operation on the draft model's KV cache that does what `op` does on the caller's; `None`
    /// if there is nothing to do. Changes nothing.
    ///
    /// # Errors
    /// If it names what is not there, or begins a sequence that is there already.
    pub(super) fn translate(&self, op: KvOp) -> Result<Option<KvOp>, ModelError> {
        match op {
            KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            } => {
                let path = self.sequences.get(&sequence).map(|s| s.path(tip));
                let path = path.filter(|path| !path.is_empty());
                let path = path.ok_or_else(|| wrong(sequence, "commits a cell it never had"))?;
                // The deepest cell that is held. What follows it is not, so if that is not the
                // tip itself, the draft model has nothing to keep below it.
                let mut depths = path.iter().enumerate();
                let deepest = depths.find_map(|(up, placed)| Some((up, placed.held?)));
                Ok(Some(match deepest {
                    Some((up, held)) => KvOp::Commit {
                        sequence,
                        tip: held.cell,
                        keep_descendants: keep_descendants && up == 0,
                    },
                    None => KvOp::Prune { sequence },
                }))
            }
            KvOp::Prune { .. } | KvOp::Release { .. } => Ok(Some(op)),
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                self.may_begin(sequence, Some(from))?;
                // A sequence of which nothing is held may be one that the draft model never
                // heard of.
                Ok(Some(match self.held(from, keep)? {
                    0 => KvOp::Release { sequence: from },
                    keep => KvOp::Adopt {
                        sequence,
                        from,
                        keep,
                    },
                }))
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                self.may_begin(sequence, None)?;
                let keep = self.held(from, keep)?;
                Ok((keep > 0).then_some(KvOp::Share {
                    sequence,
                    from,
                    keep,
                }))
            }
            KvOp::Save { sequence, .. } | KvOp::Resume { sequence, .. } => Err(wrong(
                sequence,
                "asks for a saved state, and there are none",
            )),
            KvOp::Forget { .. } => Ok(None),
        }
    }

    /// Carries out an operation that [`Books::translate`] allowed.
    pub(super) fn carry_out(&mut self, op: KvOp) {
        match op {
            KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            } => {
                if let Some(sequence) = self.sequences.get_mut(&sequence) {
                    sequence.commit(tip, keep_descendants);
                }
            }
            KvOp::Prune { sequence } => {
                if let Some(sequence) = self.sequences.get_mut(&sequence) {
                    sequence.cells.clear();
                }
            }
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                if let Some(old) = self.sequences.remove(&from) {
                    self.sequences.insert(sequence, old.cut(keep));
                }
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                if let Some(new) = self.sequences.get(&from).map(|old| old.cut(keep)) {
                    self.sequences.insert(sequence, new);
                }
            }
            KvOp::Release { sequence } => {
                self.sequences.remove(&sequence);
            }
            // None of them is allowed, or there is nothing to do.
            KvOp::Save { .. } | KvOp::Resume { .. } | KvOp::Forget { .. } => {}
        }
    }

    /// Draft tokens of the first `keep` tokens of the stem of `from`, as far as they are held.
    fn held(&self, from: SequenceId, keep: u32) -> Result<u32, ModelError> {
        let sequence = self.sequences.get(&from).filter(|s| keep <= s.length);
        let sequence = sequence.ok_or_else(|| wrong(from, "has not the tokens it shall give"))?;
        Ok(sequence.held_up_to(keep))
    }

    /// Refuses a sequence that is there already, unless it is the one that ends.
    fn may_begin(&self, sequence: SequenceId, ends: Option<SequenceId>) -> Result<(), ModelError> {
        if Some(sequence) != ends && self.sequences.contains_key(&sequence) {
            return Err(wrong(sequence, "begins a second time"));
        }
        Ok(())
    }
}

fn wrong(sequence: SequenceId, what: &str) -> ModelError {
    ModelError::Failed(format!(
        "the draft model of another vocabulary: sequence {} {what}",
        sequence.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SequenceId = SequenceId(1);

    fn row(cell: KvCell, position: u32, parent: Option<KvCell>) -> Row {
        Row {
            sequence: S,
            token: 0,
            position,
            cell,
            parent,
            logits: false,
        }
    }

    fn commit(sequence: SequenceId, tip: KvCell, keep_descendants: bool) -> KvOp {
        KvOp::Commit {
            sequence,
            tip,
            keep_descendants,
        }
    }

    /// A chain of four tokens with two pieces each, the last of which is not held, and a branch
    /// at the second.
    fn books() -> Books {
        let mut books = Books::default();
        for i in 1..=4 {
            let row = row(i, i as u32 - 1, (i > 1).then(|| i - 1));
            let start = books.start(&row).unwrap().unwrap();
            assert_eq!(u64::from(start.position), 2 * i - 2);
            assert_eq!(start.parent, (i > 1).then(|| 10 * (i - 1)));
            let held = Held {
                cell: 10 * i,
                end: 2 * i as u32,
            };
            books.enter(&row, (i < 4).then_some(held));
        }
        let held = Held { cell: 50, end: 5 };
        books.enter(&row(5, 2, Some(2)), Some(held));
        books
    }

    #[test]
    fn operations_name_the_last_pieces_and_the_ends_of_texts() {
        let mut books = books();
        let op = commit(S, 2, true);
        assert_eq!(books.translate(op).unwrap(), Some(commit(S, 20, true)));
        books.carry_out(op);
        assert_eq!(books.tokens(), 5);
        let on_the_stem = books.start(&row(9, 2, None)).unwrap().unwrap();
        assert_eq!((on_the_stem.parent, on_the_stem.position), (None, 4));
        let deeper = books.start(&row(9, 3, Some(5))).unwrap().unwrap();
        assert_eq!((deeper.parent, deeper.position), (Some(50), 5));

        let (new, from) = (SequenceId(2), S);
        let share = |keep| KvOp::Share {
            sequence: new,
            from,
            keep,
        };
        assert_eq!(books.translate(share(1)).unwrap(), Some(share(2)));
        assert_eq!(books.translate(share(0)).unwrap(), None);
        assert!(books.translate(share(3)).is_err(), "the stem has two");
        books.carry_out(share(1));
        assert!(books.translate(share(1)).is_err(), "it is there already");
        books.carry_out(KvOp::Release { sequence: S });
        assert_eq!(books.tokens(), 1);
        assert!(books.translate(commit(S, 5, true)).is_err());
    }

    #[test]
    fn what_outgrew_the_draft_model_is_not_spoken_of_until_it_is_cut_back() {
        let mut books = books();
        // The tip is not held: the draft model commits what is, and keeps nothing below.
        let op = commit(S, 4, true);
        assert_eq!(books.translate(op).unwrap(), Some(commit(S, 30, false)));
        books.carry_out(op);
        let next = row(6, 4, None);
        assert_eq!(books.start(&next).unwrap(), None);
        books.enter(&next, None);
        let op = commit(S, 6, false);
        let prune = KvOp::Prune { sequence: S };
        assert_eq!(books.translate(op).unwrap(), Some(prune));
        books.carry_out(op);
        assert_eq!(books.tokens(), 5);

        let adopt = |keep| KvOp::Adopt {
            sequence: SequenceId(2),
            from: S,
            keep,
        };
        assert_eq!(books.translate(adopt(5)).unwrap(), Some(adopt(6)));
        assert_eq!(books.translate(adopt(2)).unwrap(), Some(adopt(4)));
        let release = KvOp::Release { sequence: S };
        assert_eq!(books.translate(adopt(0)).unwrap(), Some(release));
        books.carry_out(adopt(3));
        let next = Row {
            sequence: SequenceId(2),
            ..row(7, 3, None)
        };
        let start = books.start(&next).unwrap().unwrap();
        assert_eq!(start.position, 6);
    }

    #[test]
    fn rows_that_cannot_be_are_errors_and_leave_nothing_behind() {
        let mut books = Books::default();
        assert!(books.start(&row(1, 1, None)).is_err());
        assert!(books.start(&row(1, 1, Some(7))).is_err());
        let first = row(1, 0, None);
        books.enter(&first, None);
        assert!(books.start(&row(1, 0, None)).is_err(), "the name is taken");
        assert!(books.start(&row(2, 2, Some(1))).is_err());
        books.take_back(&[first]);
        assert_eq!(books.tokens(), 0);
        assert!(books.sequences.is_empty());
        assert!(books.translate(commit(S, 1, false)).is_err());
    }
}
