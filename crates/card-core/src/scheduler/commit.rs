//! The end of a round: what was decided joins the text, the sources learn from it, and the
//! candidate cache is corrected (CARD, arXiv 2508.04462, §3).

use std::time::Duration;

use super::batch::{BatchPart, InFlight};
use super::learned::Learned;
use super::round::{Round, RoundNode, RoundStop};
use super::sequence::{Decision, Sequence};
use super::stem_rules::StemRules;
use super::tree::VerifyTree;
use super::verify::{Verdict, WalkEnd};
use crate::cache::CandidateCache;
use crate::forward::{Forward, KvOp};
use crate::types::SourceSet;

/// The report on one part of a forward that took from its launch until `now`, before anything
/// is known of the sequence. `before` is when the round before ended.
pub(super) fn report(
    part: &BatchPart,
    flight: &InFlight,
    before: Duration,
    now: Duration,
) -> Round {
    Round {
        sequence: part.sequence,
        prefill: part.prefill,
        reused: 0,
        offered: part.tree.nodes.len(),
        accepted: Vec::new(),
        tokens: Vec::new(),
        hit: None,
        stop: None,
        cached_bytes: 0,
        evicted: 0,
        refused: 0,
        launched: flight.launched,
        drafts: Vec::new(),
        logprobs: Vec::new(),
        survivors: 0,
        near_ties: Vec::new(),
        deferred: false,
        rows: flight.rows,
        forward: now.saturating_sub(flight.launched),
        elapsed: now.saturating_sub(before),
        why: flight.trace,
        nodes: Vec::new(),
    }
}

/// Adds to the report what the sequence's candidates are before the correction; the verified
/// ones themselves if `trace`.
pub(super) fn report_candidates(
    round: &mut Round,
    seq: &mut Sequence,
    part: &BatchPart,
    trace: bool,
) {
    round.reused = seq.reused;
    round.cached_bytes = seq.candidates.cache.bytes();
    round.evicted = seq.candidates.take_evictions();
    round.refused = seq.candidates.take_refused();
    if trace {
        round.nodes = verified_nodes(seq, part);
    }
}

fn verified_nodes(seq: &Sequence, part: &BatchPart) -> Vec<RoundNode> {
    let nodes = part.tree.nodes.iter().filter_map(|n| {
        let candidate = seq.candidates.cache.get(n.node)?;
        Some(RoundNode {
            token: n.token,
            parent: n.parent,
            sources: candidate.sources,
            prob: candidate.prob,
            reach: candidate.reach,
            accepted: false,
        })
    });
    nodes.collect()
}

/// Nothing was decided: the part's committed tokens join the stem. Returns the change of the KV
/// cache.
pub(super) fn extend_stem(seq: &mut Sequence, part: &BatchPart, forward: &Forward) -> KvOp {
    seq.text.rolled_back = false;
    grow_stem(seq, part, forward, part.chain)
}

/// The first `rows` rows of the part join the stem, and its other rows are dropped.
fn grow_stem(seq: &mut Sequence, part: &BatchPart, forward: &Forward, rows: usize) -> KvOp {
    seq.text.decoded += rows;
    let sequence = part.sequence;
    match rows.checked_sub(1) {
        None => KvOp::Prune { sequence },
        Some(last) => KvOp::Commit {
            sequence,
            tip: forward.rows[part.first + last].cell,
            keep_descendants: false,
        },
    }
}

/// Commits what a round decided for one sequence.
pub(super) struct Committer<'a> {
    pub(super) forward: &'a Forward,
    pub(super) learned: &'a mut Learned,
    /// The model-free sources propose candidates too, so they learn.
    pub(super) lookup: bool,
    pub(super) rules: StemRules,
    pub(super) now: Duration,
}

impl Committer<'_> {
    /// Applies a verdict: the text and the stem grow, the sources learn, the cache is
    /// corrected, and the report is completed. Returns the change of the KV cache.
    pub(super) fn apply(
        &mut self,
        seq: &mut Sequence,
        part: &BatchPart,
        verdict: &mut Verdict,
        round: &mut Round,
    ) -> KvOp {
        let (wanted, deferred) = (verdict.stem_rows(part.chain), verdict.is_deferred());
        let joining = self.rules.joining(wanted, part.rows(), deferred);
        let before = seq.text.rolled_back;
        seq.text.rolled_back = self.rules.rolled_back(joining, part.rows(), before);
        let change = grow_stem(seq, part, self.forward, joining);
        let start = seq.text.tokens.len();
        seq.text.tokens.extend_from_slice(verdict.written());
        seq.decision = if deferred {
            Decision::Solo
        } else {
            Decision::Batch
        };
        if !part.prefill && verdict.end == WalkEnd::Left {
            round.stop = stop(&seq.candidates.cache, &part.tree, verdict);
        }
        report_verdict(round, seq, part, verdict);
        self.learn(seq, verdict, &round.accepted, start);
        if !verdict.written().is_empty() {
            seq.view.commit(self.now, part.prefill);
            let correction = seq.candidates.correct(verdict.written());
            round.survivors = correction.survivors;
            let decided_past = matches!(verdict.end, WalkEnd::Left | WalkEnd::Failed(_));
            if !part.prefill && decided_past {
                round.hit = Some(correction.hit);
            }
        }
        change
    }

    /// Everyone who proposed something, or could have, learns from what was written; before the
    /// correction, which drops what was proposed. The text is longer than `start` by that.
    fn learn(
        &mut self,
        seq: &mut Sequence,
        verdict: &Verdict,
        accepted: &[SourceSet],
        start: usize,
    ) {
        let Learned {
            acceptance,
            corrections,
        } = &mut *self.learned;
        let candidates = &mut seq.candidates;
        acceptance.learn(&mut candidates.counts, &candidates.cache, &verdict.tokens);
        if !self.lookup {
            return;
        }
        seq.lookup.observe(verdict.written(), accepted);
        if let Some(corrections) = corrections {
            corrections.learn(seq.tenant, &seq.text.tokens, start);
        }
    }
}

/// Why no candidate agrees with the last token of this verdict. The cache was not corrected yet.
fn stop(cache: &CandidateCache, tree: &VerifyTree, verdict: &Verdict) -> Option<RoundStop> {
    let token = *verdict.tokens.last()?;
    let at = verdict.accepted.last().copied();
    let (node, expanded) = at.map_or((cache.root(), tree.root_expanded), |i| {
        (tree.nodes[i].node, tree.nodes[i].expanded)
    });
    let spoken_of = || {
        let looked_past = cache.get(node).is_some_and(|c| c.expanded);
        looked_past || cache.children(node).next().is_some()
    };
    Some(match cache.child(node, token) {
        Some(_) if expanded => RoundStop::NotVerified,
        Some(_) => RoundStop::Late,
        None if spoken_of() => RoundStop::NotProposed,
        None => RoundStop::NotDrafted,
    })
}

/// Adds to the report what was decided. Fields that nobody but the report needs are moved out of
/// the verdict.
fn report_verdict(round: &mut Round, seq: &Sequence, part: &BatchPart, verdict: &mut Verdict) {
    let accepted = verdict.accepted.iter().filter_map(|&i| {
        let candidate = seq.candidates.cache.get(part.tree.nodes[i].node);
        candidate.map(|c| c.sources)
    });
    round.accepted = accepted.collect();
    for &i in &verdict.accepted[..verdict.in_text()] {
        if let Some(node) = round.nodes.get_mut(i) {
            node.accepted = true;
        }
    }
    round.tokens = verdict.tokens.clone();
    round.logprobs = std::mem::take(&mut verdict.logprobs);
    round.near_ties = std::mem::take(&mut verdict.near_ties);
    round.deferred = verdict.is_deferred();
}
