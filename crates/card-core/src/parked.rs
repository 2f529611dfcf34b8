//! Finished sequences whose KV cells are kept for prompts that begin alike.

use crate::forward::KvOp;
use crate::types::{SequenceId, Tenant, Token};

/// The stems that are kept, oldest first.
#[derive(Debug)]
pub(crate) struct Parked {
    most: usize,
    stems: Vec<Stem>,
}

#[derive(Debug)]
struct Stem {
    sequence: SequenceId,
    tenant: Tenant,
    tokens: Vec<Token>,
}

/// A sequence that begins.
#[derive(Clone, Copy)]
pub(crate) struct Beginning<'a> {
    /// Its name.
    pub(crate) sequence: SequenceId,
    /// Whose it is.
    pub(crate) tenant: Tenant,
    /// Its tokens.
    pub(crate) tokens: &'a [Token],
    /// Most tokens it can come to have.
    pub(crate) end: usize,
}

/// A sequence that runs.
#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    /// Its name.
    pub(crate) sequence: SequenceId,
    /// Whose it is.
    pub(crate) tenant: Tenant,
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
        self.stems.iter().map(|s| s.tokens.len()).sum()
    }

    /// Makes a place for a sequence that begins, beside those that run, in a cache of `cells`.
    /// Returns how many of its tokens it need not decode, since an earlier sequence of its
    /// tenant, or one that runs, has them.
    pub(crate) fn admit<'a>(
        &mut self,
        new: Beginning,
        running: impl Iterator<Item = Running<'a>> + Clone,
        cells: usize,
        ops: &mut Vec<KvOp>,
    ) -> usize {
        self.forget(new.sequence, ops);
        let adopted = self.adopt(new, running.clone(), ops);
        let taken: usize = running.map(|r| r.end).sum();
        self.shrink(cells.saturating_sub(taken + new.end), ops);
        adopted
    }

    /// A name that is used again: what it stood for is gone, or the two would mix.
    fn forget(&mut self, sequence: SequenceId, ops: &mut Vec<KvOp>) {
        let before = self.stems.len();
        self.stems.retain(|s| s.sequence != sequence);
        if self.stems.len() < before {
            ops.push(KvOp::Release { sequence });
        }
    }

    /// Looks among these stems and those of `running` sequences, of the same tenant, for the
    /// one that begins most like the new one, and gives its cells to that. Returns how many
    /// tokens that saves. A stem that still runs, or most of which is of no use here, stays as
    /// it is, and what is common belongs to both.
    fn adopt<'a>(
        &mut self,
        new: Beginning,
        running: impl Iterator<Item = Running<'a>>,
        ops: &mut Vec<KvOp>,
    ) -> usize {
        if self.most == 0 {
            return 0;
        }
        let Beginning {
            sequence, tokens, ..
        } = new;
        let common = |old: &[Token]| {
            let same = old.iter().zip(tokens).take_while(|(a, b)| a == b).count();
            // The last token is decoded anew: its logits are needed.
            same.min(tokens.len().saturating_sub(1))
        };
        let over = self.stems.iter();
        let over = over.map(|s| (s.tenant, s.sequence, &s.tokens[..], true));
        let running = running.map(|r| (r.tenant, r.sequence, r.stem, false));
        let own = running.chain(over).filter(|s| s.0 == new.tenant);
        let all = own.map(|(_, id, stem, over)| {
            let keep = common(stem);
            // Of two that save as much, one that is over is taken.
            (keep, over, id, stem.len() <= 2 * keep)
        });
        let Some((keep, over, from, useful)) = all.max().filter(|best| best.0 > 0) else {
            return 0;
        };
        let kept = keep as u32;
        if over && useful {
            self.stems.retain(|s| s.sequence != from);
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
    pub(crate) fn park(
        &mut self,
        sequence: SequenceId,
        tenant: Tenant,
        tokens: Vec<Token>,
        ops: &mut Vec<KvOp>,
    ) {
        self.stems.push(Stem {
            sequence,
            tenant,
            tokens,
        });
        while self.stems.len() > self.most {
            self.release_oldest(ops);
        }
    }

    /// Releases the oldest until all of them together fit `cells`.
    fn shrink(&mut self, cells: usize, ops: &mut Vec<KvOp>) {
        while self.cells() > cells {
            self.release_oldest(ops);
        }
    }

    fn release_oldest(&mut self, ops: &mut Vec<KvOp>) {
        if self.stems.is_empty() {
            return;
        }
        let Stem { sequence, .. } = self.stems.remove(0);
        ops.push(KvOp::Release { sequence });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Tenant = Tenant::SHARED;

    fn new(sequence: SequenceId, tenant: Tenant, tokens: &[Token]) -> Beginning<'_> {
        Beginning {
            sequence,
            tenant,
            tokens,
            end: tokens.len(),
        }
    }

    fn run(sequence: SequenceId, tenant: Tenant, stem: &[Token]) -> Running<'_> {
        Running {
            sequence,
            tenant,
            stem,
            end: stem.len(),
        }
    }

    fn none() -> std::iter::Empty<Running<'static>> {
        std::iter::empty()
    }

    #[test]
    fn takes_over_a_conversation_and_shares_a_common_beginning() {
        let mut parked = Parked::new(2);
        let mut ops = Vec::new();
        let (a, b, c) = (SequenceId(1), SequenceId(2), SequenceId(3));
        parked.park(a, US, vec![1, 2, 3, 4, 5, 6], &mut ops);
        assert_eq!(parked.adopt(new(b, US, &[1, 2, 9, 9]), none(), &mut ops), 2);
        let longer = [1, 2, 3, 4, 5, 6, 7];
        assert_eq!(parked.adopt(new(c, US, &longer), none(), &mut ops), 6);
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
        assert_eq!(parked.adopt(new(b, US, &[1, 2, 3]), none(), &mut ops), 0);
        // What still runs is shared, never taken.
        let running = [run(c, US, &[7, 8, 9])].into_iter();
        assert_eq!(parked.adopt(new(b, US, &[7, 8, 9]), running, &mut ops), 2);
        let share = KvOp::Share {
            sequence: b,
            from: c,
            keep: 2,
        };
        assert_eq!(ops.last(), Some(&share));
    }

    #[test]
    fn what_another_tenant_sent_is_of_no_use() {
        let text = [1, 2, 3, 4, 5, 6];
        let (a, b) = (SequenceId(1), SequenceId(2));
        let (us, them) = (Tenant(7), Tenant(8));
        // Whether theirs is over or still runs, and whoever we are.
        for (us, them) in [(us, them), (US, them), (us, US)] {
            let mut ops = Vec::new();
            let mut parked = Parked::new(2);
            parked.park(a, them, text.to_vec(), &mut ops);
            assert_eq!(parked.admit(new(b, us, &text), none(), 99, &mut ops), 0);
            let running = [run(a, them, &text)].into_iter();
            assert_eq!(parked.admit(new(b, us, &text), running, 99, &mut ops), 0);
            assert!(ops.is_empty(), "{ops:?}");
            assert_eq!(parked.admit(new(b, them, &text), none(), 99, &mut ops), 5);
        }
    }

    #[test]
    fn a_name_that_is_used_again_stands_for_nothing_old() {
        let a = SequenceId(1);
        let mut ops = Vec::new();
        let mut parked = Parked::new(2);
        parked.park(a, US, vec![1, 2, 3], &mut ops);
        let release = KvOp::Release { sequence: a };
        assert_eq!(
            parked.admit(new(a, US, &[1, 2, 3]), none(), 99, &mut ops),
            0
        );
        assert_eq!((ops, parked.cells()), (vec![release], 0));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut parked = Parked::new(9);
        let mut ops = Vec::new();
        for id in 0..3 {
            parked.park(SequenceId(id), US, vec![0; 10], &mut ops);
        }
        parked.shrink(20, &mut ops);
        let release = KvOp::Release {
            sequence: SequenceId(0),
        };
        assert_eq!(ops, [release]);
    }
}
