//! Drafting anew after each commit, as a head of the target does.
//!
//! A head reads a token together with a hidden state. For a committed token that is the target's
//! own, for a drafted one it is the head's, which only comes near it. So what was decoded for a
//! draft is not kept when the target commits the draft: the token is read again, with the target's
//! state, and drafting begins behind the last committed token. (llama-server's `draft-mtp` does the
//! same.) What the head proposed earlier stays in the target's candidate cache as far as it still
//! holds.

use super::config::DrafterConfig;
use super::sequence::DraftSequence;
use crate::acceptance::Acceptance;
use crate::cache::CandidateCache;
use crate::forward::KvOp;
use crate::types::{SequenceId, Source, Token};

impl DrafterConfig {
    /// Whether nothing that was decoded for a draft is kept when the target commits it.
    pub(super) fn drafts_anew(&self) -> bool {
        self.source == Source::Head
    }
}

impl DraftSequence {
    /// As [`DraftSequence::commit`], of a drafter that drafts anew: all that hangs off the stem goes,
    /// and the replica begins empty behind the last of `tokens` (at least one).
    pub(super) fn commit_anew(
        &mut self,
        sequence: SequenceId,
        tokens: &[Token],
        acceptance: &mut Acceptance,
        config: &DrafterConfig,
    ) -> Option<KvOp> {
        self.begun = true;
        acceptance.learn(&mut self.counts, &self.replica, tokens);
        let change = self.rooted.then_some(KvOp::Prune { sequence });
        self.wrote(tokens);
        let last = self.tokens.len().saturating_sub(1);
        self.replica = CandidateCache::new(last as u32, config.cache_bytes);
        self.rooted = false;
        (self.grown, self.leaves) = (0, 0);
        change
    }
}
