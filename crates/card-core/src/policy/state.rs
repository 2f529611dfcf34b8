//! What the policy knows: its settings, the cost curves, and the rates reached so far.

use super::budget::ExplorationBudget;
use super::config::{Mode, PolicyConfig};
use super::gate::DrafterGate;
use super::rate::ReachedRates;
use super::repair::{RejectionCost, Repair};
use super::situation::Base;
use super::state_cost::StateCost;
use super::trace::DecisionTrace;
use crate::cost::CostCurve;
use crate::forward::Rollback;
use crate::protocol::Lanes;
use crate::types::{DRAFTERS, Source};

/// The schedule, and what it has learned. See the [module](super) documentation.
///
/// A policy holds no clock and starts nothing: it is asked for a decision, and told afterwards
/// what came of it ([`Policy::observe`]).
///
/// ```
/// use std::time::Duration;
///
/// use card_core::cost::CostCurve;
/// use card_core::policy::{Base, Candidate, Mode, Observation, Policy, PolicyConfig};
/// use card_core::protocol::Lanes;
/// use card_core::types::SequenceId;
///
/// let config = PolicyConfig {
///     mode: Mode::Auto,
///     lanes: Lanes::Shared,
///     draft_len: 4,
/// };
/// // On this target eight rows take hardly longer than one.
/// let target = CostCurve::from_points([(1, 10.0), (8, 10.1)]);
/// let draft = CostCurve::from_points([(1, 1.0)]);
/// let mut policy = Policy::new(config, target, [draft, CostCurve::default()]);
///
/// let base = Base { sequences: 1, rows: 1 };
/// let candidates = [0.9, 0.5, 0.2].map(|reach| Candidate {
///     sequence: SequenceId(1),
///     reach,
///     marginal_value: 1.0,
/// });
/// // The first round is a plain one: everything is compared with plain decoding.
/// assert_eq!(policy.verify_size(base, &candidates).size, 0);
/// policy.observe(Observation::Round {
///     base,
///     rows: 1,
///     candidates: 0,
///     forward: Duration::from_millis(10),
///     round: Duration::from_millis(10),
///     tokens: 1,
///     without_drafters: 1,
/// });
/// // Rows are nearly free, so even a doubtful candidate joins.
/// assert_eq!(policy.verify_size(base, &candidates).size, 3);
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) config: PolicyConfig,
    /// Milliseconds of a target forward by rows, with the drafters as they are now: at work, or
    /// gated.
    pub(super) target: CostCurve,
    /// The gate of drafters on lanes of their own; `None` where they do not slow the target
    /// down.
    pub(super) gate: Option<DrafterGate>,
    /// Milliseconds of the draft models' forwards by rows.
    pub(super) drafts: [CostCurve; DRAFTERS],
    /// Milliseconds of the forwards of the target's head by rows.
    pub(super) head: CostCurve,
    /// Tokens per millisecond so far.
    pub(super) rates: ReachedRates,
    pub(super) exploration: ExplorationBudget,
    /// How the target takes tokens back.
    pub(super) rollback: Rollback,
    /// What changes of the target's state take, beside forwards.
    pub(super) states: StateCost,
    /// Close decisions are made again by forwards of their own.
    pub(super) redecides: bool,
    /// Candidates that a sequence may have in a forward at most.
    pub(super) longest: u32,
    /// Rows that a decoding forward computes at least; 0 if none is filled up.
    pub(super) pad_to: u32,
    /// Rows that a decoding forward is filled up to at most, to repeat a shape.
    pub(super) most_rows: u32,
    /// Milliseconds that the next forward loses because no drafter takes another step before it,
    /// where that would change the forward's shape.
    pub(super) held_back_ms: f64,
}

impl Policy {
    /// A policy that starts from these cost curves; empty ones are learned on the way.
    pub fn new(config: PolicyConfig, target: CostCurve, drafts: [CostCurve; DRAFTERS]) -> Self {
        Policy {
            config,
            target,
            gate: None,
            drafts,
            head: CostCurve::default(),
            rates: ReachedRates::default(),
            exploration: ExplorationBudget::new(),
            rollback: Rollback::Free,
            states: StateCost::default(),
            redecides: false,
            longest: u32::MAX,
            pad_to: 0,
            most_rows: u32::MAX,
            held_back_ms: 0.0,
        }
    }

    /// Says how the target takes tokens back, and how many candidates of a sequence it can verify
    /// in a forward at most. No longer chain is asked for.
    #[must_use]
    pub fn within(mut self, rollback: Rollback, candidates: usize) -> Self {
        self.rollback = rollback;
        self.longest = candidates.min(u32::MAX as usize) as u32;
        self.config.draft_len = self.config.draft_len.min(self.longest);
        self
    }

    /// Says whether decisions that are too close are made again by forwards of their own
    /// ([`Shapes::redecide_below`](crate::scheduler::Shapes::redecide_below)).
    #[must_use]
    pub fn redeciding(mut self, redecides: bool) -> Self {
        self.redecides = redecides;
        self
    }

    /// Says that a forward that decodes is filled up to at least `rows` rows
    /// ([`Shapes::pad_to`](crate::scheduler::Shapes::pad_to)), and so costs as much as one of so
    /// many. Candidates that only take the place of padding are free then.
    #[must_use]
    pub fn padded_to(mut self, rows: usize) -> Self {
        self.pad_to = rows.min(u32::MAX as usize) as u32;
        self
    }

    /// A drafter takes a step on the target's lane, for which the next round pays.
    pub(crate) fn note_drafted(&mut self) {
        self.exploration.drafted = true;
    }

    /// Says that drafters on lanes of their own slow the target down: without them its forwards
    /// take what `alone` says. In [`Mode::Auto`] such drafters are gated while they cost more
    /// than they bring.
    #[must_use]
    pub fn slowed_from(mut self, alone: CostCurve) -> Self {
        let apart = self.config.lanes == Lanes::Disjoint && !alone.is_empty();
        let gated = apart && self.config.mode == Mode::Auto;
        self.gate = gated.then(|| DrafterGate::new(alone));
        self
    }

    /// Takes in costs that were measured while it ran: `(rows, milliseconds)` of forwards of the
    /// target and of the first drafter. On lanes of their own both were at work while they were
    /// measured, so of a gated drafter's target this is not the curve that holds now. No points
    /// change nothing.
    pub fn give_costs(&mut self, target: &[(u32, f64)], draft: &[(u32, f64)]) {
        let beside_drafters = match &mut self.gate {
            Some(gate) if gate.is_closed() => gate.other_mut(),
            _ => &mut self.target,
        };
        beside_drafters.give(target.iter().copied());
        self.drafts[0].give(draft.iter().copied());
    }

    /// Whether drafters on lanes of their own shall take no step for now.
    pub fn drafters_gated(&self) -> bool {
        self.gate.as_ref().is_some_and(DrafterGate::is_closed)
    }

    /// The settings.
    pub fn config(&self) -> PolicyConfig {
        self.config
    }

    /// What the target's forwards take, by rows, with the drafters as they are now.
    pub fn target_cost(&self) -> &CostCurve {
        &self.target
    }

    /// Whether no drafter is ever used.
    pub fn is_plain(&self) -> bool {
        self.config.mode == Mode::Plain
    }

    /// Whether only chains are drafted and verified.
    pub fn chain_only(&self) -> bool {
        self.config.mode == Mode::DraftThenVerify
    }

    /// λ, the value of time: tokens per millisecond with these sequences decoding, where no
    /// lookup chain leads. It is never below the rate of plain decoding.
    pub fn rate(&self, base: Base) -> f64 {
        self.plain_rate(base.sequences).max(self.rates.unled())
    }

    /// The part of a round's [`DecisionTrace`] that does not come from a decision. This is all
    /// there is to show for a round that was launched without any.
    pub fn trace(&self, base: Base) -> DecisionTrace {
        DecisionTrace {
            gated: self.drafters_gated(),
            plain: self.plain_rate(base.sequences),
            sequences: base.sequences,
            ..DecisionTrace::default()
        }
    }

    /// Tokens per millisecond of plain decoding. Where drafters slow the target down, plain
    /// decoding without them counts if it is faster.
    pub(super) fn plain_rate(&self, sequences: u32) -> f64 {
        let rows = self.padded(sequences);
        let other_ms = self.gate.iter().map(|gate| gate.other_ms(rows));
        let ms = other_ms.fold(self.target.ms(rows), f64::min);
        f64::from(sequences.max(1)) / ms
    }

    /// Milliseconds of a forward of plain decoding at that rate.
    pub(super) fn plain_forward_ms(&self, sequences: u32) -> f64 {
        f64::from(sequences.max(1)) / self.plain_rate(sequences)
    }

    /// What a rejected candidate makes the next forward do.
    pub(super) fn repair(&self) -> Repair {
        match self.rollback {
            Rollback::Bounded { .. } if self.redecides => Repair::OneRow,
            Rollback::Free | Rollback::Bounded { .. } => Repair::Nothing,
            Rollback::Checkpoint => Repair::Everything,
        }
    }

    /// What a rejected candidate costs.
    pub(super) fn rejection_cost(&self) -> RejectionCost {
        RejectionCost {
            repair: self.repair(),
            take_back_ms: self.states.take_back_ms(),
        }
    }

    /// What changes of the target's state take, beside forwards, as it was measured so far.
    pub fn state_cost(&self) -> &StateCost {
        &self.states
    }

    /// Expected milliseconds of a target forward that decodes so many rows, the padding included
    /// that every forward needs, if the one before had as many.
    pub(super) fn forward_ms(&self, rows: u32) -> f64 {
        self.target.ms(self.padded(rows))
    }

    /// Rows that a forward computes to decode so many.
    pub(super) fn padded(&self, rows: u32) -> u32 {
        rows.max(self.pad_to)
    }

    /// The cost curve of a drafter, or of the target's head; that of the first drafter for a
    /// source that is none of them.
    pub(crate) fn draft_cost(&self, source: Source) -> &CostCurve {
        match source {
            Source::Head => &self.head,
            other => &self.drafts[other.drafter().unwrap_or(0)],
        }
    }
}
