//! What the scheduler tells the policy before a decision.

use crate::protocol::Outlook;
use crate::types::SequenceId;

/// What the next forward decodes even if no candidate joins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Number of sequences. Each of them gets at least one token from the forward.
    pub sequences: u32,
    /// Rows of these sequences: the last token of each, and tokens that must be decoded again.
    pub rows: u32,
}

/// Everything a decision before a launch depends on, apart from what the policy has learned.
///
/// ```
/// use card_core::cost::CostCurve;
/// use card_core::policy::{Base, DraftOption, Mode, Policy, PolicyConfig, Situation};
/// use card_core::protocol::{Lanes, Outlook};
/// use card_core::types::{SequenceId, Source};
///
/// let config = PolicyConfig {
///     mode: Mode::Card,
///     lanes: Lanes::Shared,
///     draft_len: 4,
/// };
/// let target = CostCurve::from_points([(1, 10.0), (8, 12.0)]);
/// let draft = CostCurve::from_points([(1, 1.0)]);
/// let policy = Policy::new(config, target, [draft, CostCurve::default()]);
///
/// // Nothing is drafted yet for a sequence that may still write a hundred tokens.
/// let situation = Situation {
///     base: Base { sequences: 1, rows: 1 },
///     candidates: &[],
///     depth: 0,
///     tokens_left: 100,
///     lookup_share: 0.0,
///     missing: 0,
/// };
/// let outlook = Outlook {
///     source: Source::Draft,
///     reach: 1.0,
///     rows: 1,
///     sequence: SequenceId(1),
///     path: Vec::new(),
/// };
/// let option = DraftOption {
///     outlook: &outlook,
///     covered: &[],
///     top: 0.8,
/// };
/// // Steps are cheap, so the drafter takes one, and several are expected to follow.
/// let decision = policy.draft_first(&situation, &[option]);
/// assert_eq!(decision.source, Some(Source::Draft));
/// assert!(decision.foresight.is_some_and(|foresight| foresight.steps > 1));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What the forward decodes without any candidate.
    pub base: Base,
    /// The candidates that could join the forward, in falling order of their reach.
    pub candidates: &'a [Candidate],
    /// Length in tokens of the longest path among the candidates.
    pub depth: u32,
    /// The most tokens that any of the sequences may still write.
    pub tokens_left: u32,
    /// The share of those tokens, from 0 to 1, that the model-free sources (prompt lookup,
    /// corrections, the prediction) are expected to propose.
    pub lookup_share: f64,
    /// Tokens written so far that the model-free sources did not propose. With several
    /// sequences this is the largest of their counts.
    pub missing: u32,
}

/// A candidate that the next forward could verify.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The sequence that the candidate belongs to.
    pub sequence: SequenceId,
    /// Calibrated probability that the target walks through the candidate.
    pub reach: f32,
    /// What the candidate's token is worth, from 0 to 1, where 1 is the value of a token that no
    /// lookup chain proposes ([`Policy::marginal_values`](super::Policy::marginal_values)).
    pub marginal_value: f32,
}

impl Candidate {
    /// The candidate's expected value, in tokens that no lookup chain proposes.
    pub(super) fn value(&self) -> f64 {
        f64::from(self.reach) * f64::from(self.marginal_value)
    }
}

/// The number of these candidates that the target is expected to accept.
pub(super) fn expected_tokens(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.reach)).sum()
}

/// A draft step that could be taken before the target's next forward.
#[derive(Clone, Copy, Debug)]
pub struct DraftOption<'a> {
    /// The drafter, and the node that the step would expand.
    pub outlook: &'a Outlook,
    /// What other sources already proposed below that node: element 0 is one token below it,
    /// element 1 two tokens, and so on.
    pub covered: &'a [Coverage],
    /// Probability that the drafter's best child is the target's token
    /// ([`Acceptance::top`](crate::acceptance::Acceptance::top)).
    pub top: f32,
}

/// How well the existing candidates cover one level below a node, along the best path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage {
    /// Probability that the target walks through the best candidate of the level, given that it
    /// reached the node.
    pub best: f32,
    /// Probability that the target walks through that candidate or one of its siblings.
    pub any: f32,
}
