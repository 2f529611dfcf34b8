//! The candidates of one sequence, whoever proposes them.

use std::borrow::Cow;

use super::lookup::is_model_free;
use crate::acceptance::{Acceptance, Counts};
use crate::cache::{CandidateCache, Correction, NodeId};
use crate::scouted_text::ScoutedText;
use crate::sources::{Chain, LONGEST};
use crate::types::{Prob, Source, Token};

/// The candidate cache of a sequence, and what the sources' words are worth in it.
///
/// Invariants: the root of `cache` is the sequence's last token; every candidate is a token of
/// the target's vocabulary at a place before the sequence's end, since each of them comes
/// through [`Candidates::insert`]. If the sequence has a grammar whose scout is not lost, every
/// candidate is allowed where it is.
pub(super) struct Candidates {
    pub(super) cache: CandidateCache,
    /// What the sources' words are worth here.
    pub(super) counts: Counts,
    bounds: Bounds,
    /// The text, if a grammar says what it has to be.
    scouted: Option<ScoutedText>,
    /// Proposals that the grammar refused and that were not reported.
    refused: usize,
    /// Evictions that were reported.
    evictions: u64,
}

/// Where candidates of a sequence may lie: nobody's word goes beyond.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Tokens are below this.
    pub(super) vocab: usize,
    /// Indices in the sequence are below this.
    pub(super) end: usize,
}

/// A candidate that somebody proposes.
#[derive(Clone, Copy)]
struct Proposal {
    source: Source,
    token: Token,
    prob: Prob,
    /// Place of the token among what the source proposes there.
    rank: u8,
}

impl Candidates {
    /// An empty cache behind the token at index `root`, of at most `bytes` bytes. `scouted` is the
    /// text behind that token, if it has a grammar.
    pub(super) fn new(
        root: u32,
        bytes: usize,
        bounds: Bounds,
        scouted: Option<ScoutedText>,
    ) -> Self {
        Candidates {
            cache: CandidateCache::new(root, bytes),
            counts: Counts::default(),
            bounds,
            scouted,
            refused: 0,
            evictions: 0,
        }
    }

    /// Adds those of `children` that the grammar allows behind the node at the end of `path`,
    /// which begins behind the root.
    pub(super) fn propose(
        &mut self,
        known: &Acceptance,
        path: &[Token],
        children: &[(Token, Prob)],
        source: Source,
    ) {
        let (at, followed) = self.cache.walk(path);
        if followed < path.len() {
            return;
        }
        self.cache.mark_expanded(at);
        let mut added = false;
        let children = self.sift(path, children);
        for (rank, &(token, prob)) in (0..).zip(children.iter()) {
            let proposal = Proposal {
                source,
                token,
                prob,
                rank,
            };
            added |= self.insert(known, at, proposal).is_some();
        }
        if added {
            known.rejudge(&self.counts, &mut self.cache, at);
        }
    }

    /// Those of `children` that may be candidates behind `path`: not too many, and none that the
    /// grammar refuses.
    fn sift<'a>(
        &mut self,
        path: &[Token],
        children: &'a [(Token, Prob)],
    ) -> Cow<'a, [(Token, Prob)]> {
        const MOST: usize = CandidateCache::MOST_CHILDREN;
        let looked_at = &children[..children.len().min(MOST)];
        let Some(scouted) = &mut self.scouted else {
            return Cow::Borrowed(looked_at);
        };
        let mut allowed = looked_at.to_vec();
        self.refused += scouted.sift(path, MOST, &mut allowed);
        Cow::Owned(allowed)
    }

    /// Adds a chain of candidates behind the last token, as far as the grammar allows.
    pub(super) fn insert_chain(&mut self, known: &Acceptance, chain: &Chain, source: Source) {
        let mut at = self.cache.root();
        let length = self.allowed_of(chain);
        for &(token, prob) in &chain[..length] {
            let proposal = Proposal {
                source,
                token,
                prob: Prob::clamped(prob),
                rank: 0,
            };
            let Some(next) = self.insert(known, at, proposal) else {
                return;
            };
            known.rejudge(&self.counts, &mut self.cache, at);
            at = next;
        }
    }

    /// How many tokens of a chain behind the last token the grammar allows.
    fn allowed_of(&mut self, chain: &Chain) -> usize {
        let Some(scouted) = self.scouted.as_mut().filter(|_| !chain.is_empty()) else {
            return chain.len();
        };
        let tokens: Vec<Token> = chain.iter().map(|c| c.0).collect();
        let allowed = scouted.allowed_of(&tokens);
        self.refused += usize::from(allowed < tokens.len());
        allowed
    }

    /// The tokens that come next because the grammar leaves no choice.
    pub(super) fn forced(&mut self) -> Chain {
        let forced = self.scouted.as_mut().map(ScoutedText::forced);
        let forced = forced.unwrap_or_default().into_iter().take(LONGEST);
        forced.map(|(token, prob)| (token, prob.get())).collect()
    }

    /// The target wrote these tokens: the last of them is the new root.
    pub(super) fn correct(&mut self, written: &[Token]) -> Correction {
        if let Some(scouted) = &mut self.scouted {
            scouted.wrote(written);
        }
        self.cache.correct(written)
    }

    /// Takes a candidate behind `at`, whoever proposes it. Every one comes this way: a token
    /// that the target does not have, or a place past the end, goes no further.
    fn insert(&mut self, known: &Acceptance, at: NodeId, proposal: Proposal) -> Option<NodeId> {
        let Proposal {
            source,
            token,
            prob,
            rank,
        } = proposal;
        let index = self.cache.get(at)?.position as usize + 1;
        if token as usize >= self.bounds.vocab || index >= self.bounds.end {
            return None;
        }
        let prob = prob.get();
        let cond = known.expect_in(&self.counts, source, prob, rank);
        self.cache.insert(at, token, prob, cond, rank, source)
    }

    /// The best candidates as the model-free sources propose them, each past the one before, at
    /// most so many; and the probability of each, given those before it.
    pub(super) fn lookup_chain(&self, most: usize) -> (Vec<NodeId>, Vec<f32>) {
        let path = self.cache.best_path(self.cache.root());
        let known = path.map_while(|id| self.cache.get(id).map(|c| (id, c)));
        known
            .take_while(|(_, c)| is_model_free(c.sources))
            .take(most)
            .map(|(id, c)| (id, c.cond))
            .unzip()
    }

    /// Length of the chain of best candidates.
    pub(super) fn ahead(&self) -> u32 {
        self.cache.best_path(self.cache.root()).count() as u32
    }

    /// Proposals that the grammar refused since the last call.
    pub(super) fn take_refused(&mut self) -> usize {
        std::mem::take(&mut self.refused)
    }

    /// Candidates dropped for want of room since the last call.
    pub(super) fn take_evictions(&mut self) -> usize {
        let evictions = self.cache.evictions();
        let since = evictions - self.evictions;
        self.evictions = evictions;
        since as usize
    }
}
