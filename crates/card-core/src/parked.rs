//! Finished sequences whose KV cells are kept for prompts that begin alike.

use crate::forward::KvOp;
use crate::types::{SequenceId, Token};

/// The stems that are kept, oldest first.
#[derive(Debug)]
pub(crate) struct Parked {
    most: usize,
    stems: Vec<(SequenceId, Vec<Token>)>,
}

/// A sequence that runs.
#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    /// Its name.
    pub(crate) sequence: SequenceId,
    /// Its tokens that are decoded.
    pub(crate) stem: &'a [Token],
    /// Most tokens it can come to have.
    pub(crate) end: usize,
}

impl Parked {
    /// At most so many.
    pub(crate) fn new(most: usize) -> Self {
        Parked {
            most,
            stems: Vec::new(),
        }
    }

    /// KV cells of the stems that are kept.
    pub(crate) fn cells(&self) -> usize {
        self.stems.iter().map(|s| s.1.len()).sum()
    }

    /// Makes a place for `sequence`, which begins with `tokens` and may come to have `end`,
    /// beside those that run, in a cache of `cells`. Returns how many of its tokens it need not
    /// decode, since an earlier sequence or one that runs has them.
    pub(crate) fn admit<'a>(
        &mut self,
        sequence: SequenceId,
        tokens: &[Token],
        end: usize,
        running: impl Iterator<Item = Running<'a>> + Clone,
        cells: usize,
        ops: &mut Vec<KvOp>,
    ) -> usize {
        let stems = running.clone().map(|r| (r.sequence, r.stem));
        let adopted = self.adopt(sequence, tokens, stems, ops);
        let taken: usize = running.map(|r| r.end).sum();
        self.shrink(cells.saturating_sub(taken + end), ops);
        adopted
    }

    /// Looks among these stems and those of `running` sequences for the one that begins most
    /// like `tokens`, and gives its cells to `sequence`. Returns how many tokens that saves.
    /// A stem that still runs, or most of which is of no use here, stays as it is, and what
    /// is common belongs to both.
    fn adopt<'a>(
        &mut self,
        sequence: SequenceId,
        tokens: &[Token],
        running: impl Iterator<Item = (SequenceId, &'a [Token])>,
        ops: &mut Vec<KvOp>,
    ) -> usize {
        if self.most == 0 {
            return 0;
        }
        let common = |old: &[Token]| {
            let same = old.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            // The last token is decoded anew: its logits are needed.
            same.min(tokens.len().saturating_sub(1))
        };
        let over = self.stems.iter().map(|(id, stem)| (*id, &stem[..], true));
        let running = running.map(|(id, stem)| (id, stem, false));
        let all = running.chain(over).map(|(id, stem, over)| {
            let keep = common(stem);
            // Of two that save as much, one that is over is taken.
            (keep, over, id, stem.len() <= 2 * keep)
        });
        let Some((keep, over, from, useful)) = all.max().filter(|best| best.0 > 0) else {
            return 0;
        };
        let kept = keep as u32;
        if over && useful {
            self.stems.retain(|s| s.0 != from);
            ops.push(KvOp::Adopt {
                sequence,
                from,
                keep: kept,
            });
        } else {
            ops.push(KvOp::Share {
                sequence,
                from,
                keep: kept,
            });
        }
        keep
    }

    /// Keeps the cells of a finished sequence, within the limit; the oldest goes first.
    pub(crate) fn park(&mut self, sequence: SequenceId, stem: Vec<Token>, ops: &mut Vec<KvOp>) {
        self.stems.push((sequence, stem));
        while self.stems.len() > self.most {
            self.release_oldest(ops);
        }
    }

    /// Releases the oldest until all of them together fit `cells`.
    fn shrink(&mut self, cells: usize, ops: &mut Vec<KvOp>) {
        while self.stems.iter().map(|s| s.1.len()).sum::<usize>() > cells {
            self.release_oldest(ops);
        }
    }

    fn release_oldest(&mut self, ops: &mut Vec<KvOp>) {
        let (sequence, _) = self.stems.remove(0);
        ops.push(KvOp::Release { sequence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_a_conversation_and_shares_a_common_beginning() {
        let mut parked = Parked::new(2);
        let mut ops = Vec::new();
        let (a, b, c) = (SequenceId(1), SequenceId(2), SequenceId(3));
        parked.park(a, vec![1, 2, 3, 4, 5, 6], &mut ops);
        assert_eq!(parked.adopt(b, &[1, 2, 9, 9], none(), &mut ops), 2);
        assert_eq!(parked.adopt(c, &[1, 2, 3, 4, 5, 6, 7], none(), &mut ops), 6);
        let share = KvOp::Share {
            sequence: b,
            from: a,
            keep: 2,
        };
        let adopt = KvOp::Adopt {
            sequence: c,
            from: a,
            keep: 6,
        };
        assert_eq!(ops, [share, adopt]);
        assert_eq!(parked.adopt(b, &[1, 2, 3], none(), &mut ops), 0);
        // What still runs is shared, never taken.
        let running = [(c, &[7, 8, 9][..])].into_iter();
        assert_eq!(parked.adopt(b, &[7, 8, 9], running, &mut ops), 2);
        let share = KvOp::Share {
            sequence: b,
            from: c,
            keep: 2,
        };
        assert_eq!(ops.last(), Some(&share));
    }

    fn none() -> std::iter::Empty<(SequenceId, &'static [Token])> {
        std::iter::empty()
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut parked = Parked::new(9);
        let mut ops = Vec::new();
        for id in 0..3 {
            parked.park(SequenceId(id), vec![0; 10], &mut ops);
        }
        parked.shrink(20, &mut ops);
        let release = KvOp::Release {
            sequence: SequenceId(0),
        };
        assert_eq!(ops, [release]);
    }
}
