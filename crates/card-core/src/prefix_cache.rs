//! The prefix cache: finished sequences whose KV cells are kept for prompts that begin alike.
//!
//! A prompt that starts like a sequence whose tokens are in the KV cache is not decoded again
//! (automatic prefix caching, as in vLLM and SGLang's RadixAttention). The cache keeps names
//! and tokens only; what to do with the KV cells it says as [`KvOp`]s.
//!
//! A model that keeps one state per sequence ([`Rollback`]) has the state behind a whole stem only.
//! So a stem is of use if the new prompt begins with all of it: a conversation that goes on. Of other
//! places in a text there are states if they were saved ([`SavedStates`]).

use crate::forward::{KvOp, Rollback};
use crate::saved_states::SavedStates;
use crate::types::{SequenceId, Tenant, TextMark, Token};

/// The stems that are kept, oldest first.
///
/// Invariants: there are at most `slots` stems after [`PrefixCache::keep`], no two have the same
/// name, and none has the name of a sequence that runs. Tokens of one tenant are never found
/// for another.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    slots: usize,
    /// A stem is taken whole or not at all.
    whole: bool,
    stems: Vec<Stem>,
    /// States behind parts of stems.
    pub(crate) saved: SavedStates,
}

/// The decoded tokens of a finished sequence.
#[derive(Debug)]
pub(crate) struct Stem {
    /// Its name.
    pub(crate) sequence: SequenceId,
    /// Whose it is.
    pub(crate) tenant: Tenant,
    /// The tokens.
    pub(crate) tokens: Vec<Token>,
    /// The last commit left rows of its forward out, of a model with [`Rollback::Bounded`].
    pub(crate) rolled_back: bool,
}

/// What a new sequence begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reused {
    /// Tokens that need not be decoded.
    pub(crate) tokens: usize,
    /// See [`Stem::rolled_back`].
    pub(crate) rolled_back: bool,
    /// Tokens that the text has in common with an earlier one, if those are so many more that the
    /// state behind them is worth saving: here texts part, and may do so again.
    pub(crate) branch: Option<usize>,
}

/// A sequence that begins.
#[derive(Clone, Copy)]
pub(crate) struct NewSequence<'a> {
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
pub(crate) struct RunningSequence<'a> {
    /// Its name.
    pub(crate) sequence: SequenceId,
    /// Whose it is.
    pub(crate) tenant: Tenant,
    /// Its tokens that are decoded.
    pub(crate) stem: &'a [Token],
    /// The model has no state of its stem that another sequence could begin with
    /// ([`Stem::rolled_back`]).
    pub(crate) rolled_back: bool,
    /// Most tokens it can come to have.
    pub(crate) end: usize,
}

/// A stem that a new sequence could begin with. The greatest is the best: it saves the most
/// tokens; of two that save as much, a finished one is greater.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    /// Tokens that are common.
    common: usize,
    /// Whether the sequence is finished.
    finished: bool,
    from: SequenceId,
    /// Whether at least half of the stem is common.
    mostly: bool,
    /// Whether all of it is.
    is_whole: bool,
    /// See [`Stem::rolled_back`].
    rolled_back: bool,
}

impl PrefixCache {
    /// A cache of at most `slots` finished sequences of a model that takes tokens back like this;
    /// none with 0, and nothing is shared then.
    pub(crate) fn new(slots: usize, rollback: Rollback) -> Self {
        PrefixCache {
            slots,
            whole: !rollback.is_free(),
            stems: Vec::new(),
            saved: SavedStates::new(),
        }
    }

    /// Says how many bytes the state behind a stem takes when it is saved; `None` if the model saves
    /// none. Where no stem is kept, none is saved either.
    pub(crate) fn set_state_bytes(&mut self, each: Option<usize>) {
        let used = self.whole && self.slots > 0;
        self.saved.set_bytes(each.filter(|_| used));
    }

    /// Forgets all stems and saved states and asks no [`KvOp`] of the model, which has none of them
    /// any more.
    pub(crate) fn clear(&mut self) {
        self.stems.clear();
        self.saved.clear();
    }

    /// KV cells of the stems that are kept.
    pub(crate) fn cells(&self) -> usize {
        self.stems.iter().map(|s| s.tokens.len()).sum()
    }

    /// Makes a place for a sequence that begins, beside those that run, in a KV cache of
    /// `cells`. Returns how much of it need not be decoded, since an earlier sequence of its
    /// tenant, or one that runs, has the tokens.
    pub(crate) fn admit<'a>(
        &mut self,
        new: NewSequence,
        running: impl Iterator<Item = RunningSequence<'a>> + Clone,
        cells: usize,
        ops: &mut Vec<KvOp>,
    ) -> Reused {
        self.forget(new.sequence, ops);
        let adopted = self.adopt(new, running.clone(), ops);
        let taken: usize = running.clone().map(|r| r.end).sum();
        self.shrink(cells.saturating_sub(taken + new.end), ops);
        let begun = (new.tenant, &new.tokens[..adopted.tokens]);
        self.give_up_states(begun, running, ops);
        adopted
    }

    /// Gives up the saved states that nobody can go on from any more: neither a kept stem nor a
    /// running sequence begins with their tokens, nor does a text of this tenant that has `begun`
    /// with these tokens.
    pub(crate) fn give_up_states<'a>(
        &mut self,
        begun: (Tenant, &[Token]),
        running: impl Iterator<Item = RunningSequence<'a>> + Clone,
        ops: &mut Vec<KvOp>,
    ) {
        let stems = &self.stems;
        let has = |tenant: Tenant, tokens: &[Token]| {
            let kept = stems
                .iter()
                .any(|s| s.tenant == tenant && s.tokens.starts_with(tokens));
            let begun = begun.0 == tenant && begun.1.starts_with(tokens);
            let mut others = running.clone();
            kept || begun || others.any(|r| r.tenant == tenant && r.stem.starts_with(tokens))
        };
        self.saved.retain(has, ops);
    }

    /// Drops a kept stem that has the name of the new sequence: the cells of the two would mix.
    fn forget(&mut self, sequence: SequenceId, ops: &mut Vec<KvOp>) {
        let before = self.stems.len();
        self.stems.retain(|s| s.sequence != sequence);
        if self.stems.len() < before {
            ops.push(KvOp::Release { sequence });
        }
    }

    /// Finds the stem that begins most like the new sequence, among those that are kept and those
    /// of `running` sequences of the same tenant, and gives the common cells to the new sequence;
    /// or goes on from a saved state, if that spares more. Returns what that saves. A stem that
    /// runs, or of which more than half is of no use here, stays as it is: then the common cells
    /// belong to both.
    fn adopt<'a>(
        &mut self,
        new: NewSequence,
        running: impl Iterator<Item = RunningSequence<'a>> + Clone,
        ops: &mut Vec<KvOp>,
    ) -> Reused {
        if self.slots == 0 {
            return Reused::default();
        }
        let running = running.filter(|r| r.tenant == new.tenant);
        let matches: Vec<Match> = self.matches(new, running.clone()).collect();
        let shared = matches.iter().map(|m| m.common).max().unwrap_or(0);
        let whole = self.whole;
        let usable = |m: &Match| {
            let there = m.is_whole && (m.finished || !m.rolled_back);
            m.common > 0 && (there || !whole)
        };
        let best = matches.into_iter().filter(usable).max();
        let spared = best.as_ref().map_or(0, |b| b.common);
        let mut reused = match self.resume(new, running, spared, ops) {
            Some(reused) => reused,
            None => best.map_or(Reused::default(), |best| self.take(new, &best, ops)),
        };
        let parts = shared.checked_sub(reused.tokens);
        let parts = parts.filter(|&more| self.saved.pays(more));
        reused.branch = parts.map(|_| shared);
        reused
    }

    /// What the stems of one tenant have in common with a new sequence.
    fn matches<'a>(
        &self,
        new: NewSequence<'_>,
        running: impl Iterator<Item = RunningSequence<'a>>,
    ) -> impl Iterator<Item = Match> {
        let running = running.map(move |r| Match {
            rolled_back: r.rolled_back,
            ..Match::of(r.sequence, r.stem, false, new.tokens)
        });
        let own = self.stems.iter().filter(move |s| s.tenant == new.tenant);
        let finished = own.map(move |s| Match {
            rolled_back: s.rolled_back,
            ..Match::of(s.sequence, &s.tokens, true, new.tokens)
        });
        running.chain(finished)
    }

    /// Gives the new sequence what it has in common with the best match.
    fn take(&mut self, new: NewSequence, best: &Match, ops: &mut Vec<KvOp>) -> Reused {
        let (sequence, from, keep) = (new.sequence, best.from, best.common as u32);
        if best.finished && best.mostly {
            self.stems.retain(|s| s.sequence != from);
            ops.push(KvOp::Adopt {
                sequence,
                from,
                keep,
            });
        } else {
            ops.push(KvOp::Share {
                sequence,
                from,
                keep,
            });
        }
        Reused {
            tokens: best.common,
            rolled_back: best.rolled_back,
            branch: None,
        }
    }

    /// Lets the new sequence go on from a saved state, if that spares enough tokens beyond the
    /// `spared` ones that it need not decode anyway.
    fn resume<'a>(
        &mut self,
        new: NewSequence,
        running: impl Iterator<Item = RunningSequence<'a>> + Clone,
        spared: usize,
        ops: &mut Vec<KvOp>,
    ) -> Option<Reused> {
        let own = self.stems.iter().filter(|s| s.tenant == new.tenant);
        let kept = own.map(|s| (s.sequence, &s.tokens[..]));
        let stems = kept.chain(running.map(|r| (r.sequence, r.stem)));
        let found = self.saved.longest(new.tenant, new.tokens, stems)?;
        let more = found.keep.checked_sub(spared)?;
        if !self.saved.pays(more) {
            return None;
        }
        self.saved.resume(found.name);
        ops.push(KvOp::Resume {
            sequence: new.sequence,
            from: found.from,
            keep: found.keep as u32,
            state: found.name,
        });
        Some(Reused {
            tokens: found.keep,
            ..Reused::default()
        })
    }

    /// Keeps the cells of a finished sequence, within the number of slots; the oldest stem
    /// makes room. A sequence of which nothing was decoded has none, and takes no slot.
    pub(crate) fn keep(&mut self, stem: Stem, ops: &mut Vec<KvOp>) {
        if stem.tokens.is_empty() {
            let Stem { sequence, .. } = stem;
            ops.push(KvOp::Release { sequence });
            return;
        }
        self.stems.push(stem);
        while self.stems.len() > self.slots {
            self.release_oldest(ops);
        }
    }

    /// Releases the stems of a tenant that have more than half of a text.
    pub(crate) fn release_text(&mut self, tenant: Tenant, text: TextMark, ops: &mut Vec<KvOp>) {
        let has = |stem: &Stem| stem.tenant == tenant && text.is_of(&stem.tokens);
        let gone = self.stems.iter().filter(|stem| has(stem));
        ops.extend(gone.map(|stem| KvOp::Release {
            sequence: stem.sequence,
        }));
        self.stems.retain(|stem| !has(stem));
    }

    /// Releases the oldest stems until all of them together fit `cells`.
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

impl Match {
    /// What the stem of `from` has in common with the tokens of a new sequence.
    fn of(from: SequenceId, stem: &[Token], finished: bool, tokens: &[Token]) -> Self {
        // The last token is decoded anew: its logits are needed.
        let common = common_prefix(stem, tokens).min(tokens.len().saturating_sub(1));
        Match {
            common,
            finished,
            from,
            mostly: stem.len() <= 2 * common,
            is_whole: stem.len() == common,
            rolled_back: false,
        }
    }
}

/// Tokens that two texts have in common at their beginning.
fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
