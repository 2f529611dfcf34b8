//! The candidates of one sequence, whoever proposes them.

use super::lookup::is_model_free;
use crate::acceptance::{Acceptance, Counts};
use crate::cache::{CandidateCache, NodeId};
use crate::sources::Chain;
use crate::types::{Prob, Source, Token};

/// The candidate cache of a sequence, and what the sources' words are worth in it.
///
/// Invariants: the root of `cache` is the sequence's last token; every candidate is a token of
/// the target's vocabulary at a place before the sequence's end, since each of them comes
/// through [`Candidates::insert`].
pub(super) struct Candidates {
    pub(super) cache: CandidateCache,
    /// What the sources' words are worth here.
    pub(super) counts: Counts,
    bounds: Bounds,
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
    /// None yet, behind the token at index `root`; they take `bytes` at most.
    pub(super) fn new(root: u32, bytes: usize, bounds: Bounds) -> Self {
        Candidates {
            cache: CandidateCache::new(root, bytes),
            counts: Counts::default(),
            bounds,
            evictions: 0,
        }
    }

    /// Adds `children` behind the node at the end of `path`, which begins behind the root.
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
        let children = children.iter().take(CandidateCache::MOST_CHILDREN);
        for (rank, &(token, prob)) in (0..).zip(children) {
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

    /// Adds a chain of candidates behind the last token.
    pub(super) fn insert_chain(&mut self, known: &Acceptance, chain: &Chain, source: Source) {
        let mut at = self.cache.root();
        for &(token, prob) in chain {
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

    /// Candidates dropped for want of room since the last call.
    pub(super) fn take_evictions(&mut self) -> usize {
        let evictions = self.cache.evictions();
        let since = evictions - self.evictions;
        self.evictions = evictions;
        since as usize
    }
}
