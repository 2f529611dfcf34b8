//! Small situations for the tests of the decisions.

use std::time::Duration;

use super::config::{Mode, PolicyConfig};
use super::observe::Observation;
use super::situation::{Base, Candidate, Coverage, DraftOption, Situation};
use super::state::Policy;
use crate::cost::CostCurve;
use crate::protocol::{Lanes, Outlook};
use crate::types::{SequenceId, Source};

/// Probability that a drafter's best child is right.
pub(super) const TOP: f32 = 0.75;
/// One sequence that decodes one row.
pub(super) const ONE: Base = Base {
    sequences: 1,
    rows: 1,
};

/// A policy on a shared lane, with the cost curves of the target and of the first drafter.
pub(super) fn policy(mode: Mode, target: &[(u32, f64)], draft: &[(u32, f64)]) -> Policy {
    let mut policy = Policy::new(
        PolicyConfig {
            mode,
            lanes: Lanes::Shared,
            draft_len: 4,
        },
        CostCurve::from_points(target.iter().copied()),
        [
            CostCurve::from_points(draft.iter().copied()),
            CostCurve::default(),
        ],
    );
    // Plain decoding was measured a moment ago.
    policy.exploration.since_plain_ms = 0.0;
    policy
}

/// Candidates where no lookup chain leads.
pub(super) fn candidates(reaches: &[f32]) -> Vec<Candidate> {
    let candidate = |&reach| Candidate {
        sequence: SequenceId(1),
        reach,
        marginal_value: 1.0,
    };
    reaches.iter().map(candidate).collect()
}

/// A drafter that would expand the last committed token, with so many rows to decode.
pub(super) fn outlook(rows: u32) -> Outlook {
    Outlook {
        source: Source::Draft,
        reach: 1.0,
        rows,
        sequence: SequenceId(1),
        path: Vec::new(),
    }
}

/// A situation without any candidate.
pub(super) fn empty(tokens_left: u32) -> Situation<'static> {
    Situation {
        base: ONE,
        candidates: &[],
        depth: 0,
        tokens_left,
        lookup_share: 0.0,
        missing: 0,
    }
}

/// Whether the policy lets the drafter of `outlook` take a step, where other sources' best
/// candidates below it have the probabilities `covered`.
pub(super) fn drafts(
    policy: &Policy,
    situation: &Situation,
    outlook: &Outlook,
    covered: &[f32],
) -> bool {
    let level = |&p: &f32| Coverage { best: p, any: p };
    let covered: Vec<Coverage> = covered.iter().map(level).collect();
    let option = DraftOption {
        outlook,
        covered: &covered,
        top: TOP,
    };
    policy.draft_first(situation, &[option]).source.is_some()
}

/// A round of one sequence; all of its rows but one are candidates, and draft models proposed what
/// was accepted.
pub(super) fn round(rows: u32, forward: Duration, round: Duration, tokens: u32) -> Observation {
    Observation::Round {
        base: ONE,
        rows,
        candidates: rows - 1,
        forward,
        round,
        tokens,
        without_drafters: 1,
    }
}
