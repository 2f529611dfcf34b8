//! What the draft model proposes behind a node.

use super::sequence::DraftSequence;
use crate::sampler::Sampler;
use crate::types::{Prob, Token};

/// Under a grammar, so many more of the most probable tokens are looked at: those it refuses are
/// left out. That takes far less time than a mask of the whole vocabulary.
const SPARE: usize = 32;

/// Puts into `out` what the model proposes behind the drafted `path` by its `logits`: at most
/// `branch` tokens, the best first, and none that the grammar refuses.
pub(super) fn propose(
    sampler: &mut Sampler,
    draft: &mut DraftSequence,
    path: &[Token],
    logits: &[f32],
    branch: usize,
    out: &mut Vec<(Token, Prob)>,
) {
    let at = draft.tokens.len();
    // Penalties count the drafted path as well, as they will for the target.
    draft.tokens.extend_from_slice(path);
    let (text, position) = (&draft.tokens, (at + path.len()) as u32);
    match &mut draft.scouted {
        None => sampler.propose(&draft.params, logits, text, position, branch, out),
        Some(scouted) => {
            let most = branch.saturating_add(SPARE);
            sampler.propose(&draft.params, logits, text, position, most, out);
            scouted.sift(path, branch, out);
            // The target masks before it filters, so something passes its filters.
            if out.is_empty() && !draft.params.is_greedy() {
                let params = draft.params.unfiltered();
                sampler.propose(&params, logits, text, position, most, out);
                scouted.sift(path, branch, out);
            }
        }
    }
    draft.tokens.truncate(at);
}
