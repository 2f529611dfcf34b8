//! What forwards take on one lane or on two.

use card_core::cost::CostCurve;
use card_core::protocol::Lanes;

/// Most candidates of one round that are considered.
pub(super) const MOST: usize = 64;

/// What forwards take.
#[derive(Clone, Debug)]
pub struct Costs {
    /// Whether the two models share a lane.
    pub lanes: Lanes,
    /// Milliseconds of a target forward, by its rows.
    pub target: CostCurve,
    /// Milliseconds of a draft forward of one row.
    pub draft_step: f64,
    /// Most candidates of one round.
    pub(super) most: usize,
    /// Least milliseconds that each further row adds to a draft forward.
    draft_row: f64,
    /// Least milliseconds per token in which a draft model reads a prompt.
    draft_read: f64,
}

impl Costs {
    /// Costs by the curves of both models' forwards.
    pub fn new(lanes: Lanes, target: CostCurve, draft: &CostCurve) -> Self {
        let step = draft.ms(1);
        let more = draft.points().filter(|p| p.0 > 1);
        let row = more.map(|(rows, ms)| (ms - step) / f64::from(rows - 1));
        let read = draft.points().map(|(rows, ms)| ms / f64::from(rows));
        Costs {
            lanes,
            target,
            draft_step: step,
            most: MOST,
            draft_row: row.reduce(f64::min).unwrap_or(0.0).clamp(0.0, step),
            draft_read: read.reduce(f64::min).unwrap_or(0.0),
        }
    }

    /// The same, for a target whose forwards have so many rows at most: no schedule verifies more
    /// candidates in one round than there are rows beside the last token's.
    #[must_use]
    pub fn within(mut self, rows: usize) -> Self {
        self.most = self.most.min(rows.saturating_sub(1));
        self
    }

    /// What the drafter's reading of a prompt takes from decoding: on lanes of their own it
    /// reads while the target does.
    pub(super) fn reading(&self, tokens: usize) -> f64 {
        match self.lanes {
            Lanes::Shared => tokens as f64 * self.draft_read,
            Lanes::Disjoint => 0.0,
        }
    }

    /// The least that looking past so many nodes on so many levels of a tree takes: a level
    /// needs the one before.
    pub(super) fn drafting(&self, levels: usize, nodes: usize) -> f64 {
        let more = nodes.saturating_sub(levels) as f64;
        levels as f64 * self.draft_step + more * self.draft_row
    }
}

/// The lesser of `least(true)`, where the drafter has to read the prompt first, and
/// `least(false)`, where nobody drafts.
pub(super) fn drafting_or_not(prompt: usize, costs: &Costs, least: impl Fn(bool) -> f64) -> f64 {
    f64::min(costs.reading(prompt) + least(true), least(false))
}

/// The least time, if `weighted` gives the least sum of the target's and the drafter's times
/// with these weights.
///
/// On a shared lane a draft step takes its time. On lanes of their own, the time is at
/// least the target's and at least the drafter's; the bound is the best one that a mixture
/// of the two gives (Lagrangian duality), so it holds however the two overlap.
pub(super) fn over_lanes(lanes: Lanes, weighted: impl Fn(f64, f64) -> f64) -> f64 {
    match lanes {
        Lanes::Shared => weighted(1.0, 1.0),
        Lanes::Disjoint => (0..=20)
            .map(|i| f64::from(i) / 20.0)
            .map(|share| weighted(1.0 - share, share))
            .fold(0.0, f64::max),
    }
}
