//! The tokens that every sequence has, kept in the simplest way there is.

use std::collections::BTreeMap;

use card_core::forward::{KvCell, KvOp, Row};
use card_core::types::{SequenceId, Token};

/// The tokens of every sequence, as operations and forwards leave them.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub sequences: BTreeMap<SequenceId, Text>,
}

#[derive(Clone, Debug, Default)]
pub struct Text {
    pub stem: Vec<Token>,
    pub cells: BTreeMap<KvCell, (Option<KvCell>, Token)>,
}

impl Text {
    /// All tokens up to a cell, or of the stem.
    pub fn up_to(&self, cell: Option<KvCell>) -> Vec<Token> {
        let mut path = Vec::new();
        let mut at = cell;
        while let Some(cell) = at {
            let (parent, token) = self.cells[&cell];
            path.push(token);
            at = parent;
        }
        path.reverse();
        [&self.stem[..], &path[..]].concat()
    }

    pub fn commit(&mut self, tip: KvCell, keep_descendants: bool) {
        self.stem = self.up_to(Some(tip));
        let cells = std::mem::take(&mut self.cells);
        for (cell, (parent, token)) in cells.into_iter().filter(|_| keep_descendants) {
            let below = parent.is_some_and(|p| self.cells.contains_key(&p));
            if parent == Some(tip) {
                self.cells.insert(cell, (None, token));
            } else if below {
                self.cells.insert(cell, (parent, token));
            }
        }
    }
}

impl Texts {
    pub fn apply(&mut self, op: KvOp) {
        match op {
            KvOp::Commit {
                sequence,
                tip,
                keep_descendants,
            } => {
                let text = self.sequences.get_mut(&sequence).unwrap();
                text.commit(tip, keep_descendants);
            }
            KvOp::Prune { sequence } => {
                if let Some(text) = self.sequences.get_mut(&sequence) {
                    text.cells.clear();
                }
            }
            KvOp::Adopt {
                sequence,
                from,
                keep,
            } => {
                let mut text = self.sequences.remove(&from).unwrap();
                text.stem.truncate(keep as usize);
                text.cells.clear();
                self.sequences.insert(sequence, text);
            }
            KvOp::Share {
                sequence,
                from,
                keep,
            } => {
                let text = Text {
                    stem: self.sequences[&from].stem[..keep as usize].to_vec(),
                    cells: BTreeMap::new(),
                };
                self.sequences.insert(sequence, text);
            }
            KvOp::Release { sequence } => {
                self.sequences.remove(&sequence);
            }
            KvOp::Save { .. } | KvOp::Resume { .. } | KvOp::Forget { .. } => {
                panic!("a draft model saves no states")
            }
        }
    }

    /// Enters a row; returns all tokens up to and with it.
    pub fn decode(&mut self, row: &Row) -> Vec<Token> {
        let text = self.sequences.entry(row.sequence).or_default();
        text.cells.insert(row.cell, (row.parent, row.token));
        text.up_to(Some(row.cell))
    }

    pub fn tokens(&self) -> usize {
        let texts = self.sequences.values();
        texts.map(|t| t.stem.len() + t.cells.len()).sum()
    }
}
