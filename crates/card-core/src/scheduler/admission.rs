//! How a sequence begins, and what stays of it when it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use super::candidates::{Bounds, Candidates};
use super::config::SchedulerConfig;
use super::drafter_view::DrafterView;
use super::lookup::Lookup;
use super::marks::marks;
use super::request::{Request, RequestError};
use super::sequence::{Decision, Sequence, SequenceSpeculation, SequenceText};
use crate::forward::KvOp;
use crate::prefix_cache::{NewSequence, PrefixCache, RunningSequence, Stem};
use crate::scouted_text::ScoutedText;
use crate::types::SequenceId;

/// Checks a request against the settings and the sequences that run.
pub(super) fn check(
    request: &Request,
    config: &SchedulerConfig,
    running: &BTreeMap<SequenceId, Sequence>,
) -> Result<(), RequestError> {
    let prompt = &request.prompt;
    if prompt.is_empty() {
        return Err(RequestError::Empty);
    }
    let context = config.limits.context;
    if prompt.len() >= context as usize {
        return Err(RequestError::TooLong {
            prompt: prompt.len(),
            context,
        });
    }
    if let Some(&token) = prompt.iter().find(|t| **t as usize >= config.vocab) {
        return Err(RequestError::ForeignToken(token));
    }
    if running.contains_key(&request.sequence) {
        return Err(RequestError::Duplicate(request.sequence));
    }
    Ok(())
}

/// The sequence of a request that was [checked](check), beside those that run. The prefix cache
/// makes room for it, and gives it what an earlier prompt has decoded.
pub(super) fn admit(
    request: Request,
    config: &SchedulerConfig,
    running: &BTreeMap<SequenceId, Sequence>,
    prefixes: &mut PrefixCache,
    ops: &mut Vec<KvOp>,
    now: Duration,
) -> Sequence {
    let prompt = request.prompt;
    let context = config.limits.context as usize;
    let end = prompt.len().saturating_add(request.max_tokens as usize);
    let others = stems(running, context);
    let new = NewSequence {
        sequence: request.sequence,
        tenant: request.tenant,
        tokens: &prompt,
        end: end.min(context),
    };
    let reused = prefixes.admit(new, others, config.limits.cells, ops);
    let marks = if config.shapes.whole_pieces {
        Vec::new()
    } else {
        marks(reused, prompt.len(), &prefixes.saved)
    };
    let lookup = if config.lookup {
        // More cannot be written, and indexing it takes time in which nobody decodes.
        let usable = request.prediction.len().min(context - prompt.len());
        Lookup::new(&prompt, &request.prediction[..usable])
    } else {
        Lookup::off()
    };
    let bounds = Bounds {
        vocab: config.vocab,
        end: end.min(context),
    };
    let proposed = request.constraint.as_ref().filter(|_| !request.plain);
    let scouted = proposed.and_then(|c| Some(ScoutedText::new(c.grammar()?, &[])));
    let root = prompt.len() as u32 - 1;
    Sequence {
        tenant: request.tenant,
        params: request.params,
        candidates: Candidates::new(root, config.cache_bytes, bounds, scouted),
        text: SequenceText {
            prompt: prompt.len(),
            decoded: reused.tokens,
            end,
            tokens: prompt,
            rolled_back: reused.rolled_back,
            marks,
            saved: reused.tokens,
        },
        lookup,
        stop_tokens: request.stop_tokens,
        constraint: request.constraint,
        logprobs: request.logprobs,
        reused: reused.tokens,
        view: DrafterView::new(now),
        speculation: if request.plain {
            SequenceSpeculation::Off
        } else {
            SequenceSpeculation::WithDrafters
        },
        most_candidates: request.most_candidates.map_or(usize::MAX, |n| n as usize),
        decision: Decision::Batch,
    }
}

/// What running sequences have decoded, in a context of so many tokens.
pub(super) fn stems(
    running: &BTreeMap<SequenceId, Sequence>,
    context: usize,
) -> impl Iterator<Item = RunningSequence<'_>> + Clone {
    running.iter().map(move |(&sequence, s)| RunningSequence {
        sequence,
        tenant: s.tenant,
        stem: &s.text.tokens[..s.text.decoded],
        rolled_back: s.text.rolled_back,
        end: s.text.end.min(context),
    })
}

/// A sequence is over: its decoded tokens stay for a prompt that begins alike, and the state behind
/// them for one that parts there.
pub(super) fn retire(
    sequence: SequenceId,
    seq: Sequence,
    prefixes: &mut PrefixCache,
    ops: &mut Vec<KvOp>,
) {
    let unsaved = seq.text.unsaved();
    let SequenceText {
        mut tokens,
        decoded,
        rolled_back,
        ..
    } = seq.text;
    tokens.truncate(decoded);
    ops.push(KvOp::Prune { sequence });
    if prefixes.saved.pays(unsaved) {
        prefixes.saved.save(sequence, seq.tenant, &tokens, ops);
    }
    let stem = Stem {
        sequence,
        tenant: seq.tenant,
        tokens,
        rolled_back,
    };
    prefixes.keep(stem, ops);
}
