//! How fast the texts of a contest could have been written at the most.

use std::collections::BTreeMap;

use card_core::cost::CostCurve;

use crate::bound::{Costs, Record, blind, least_ms};
use crate::contest::Results;
use crate::stats::Spread;

/// What the bounds of a contest's texts are computed from.
pub struct BoundInputs {
    /// What is known of each task's text, in the order of the tasks.
    pub records: Vec<Record>,
    /// The costs of both models' forwards, as they were measured before.
    pub costs: Costs,
}

/// Least milliseconds of a text: with perfect information, and on average without.
pub(super) struct Bound {
    /// Milliseconds with perfect information.
    pub seeing_ms: f64,
    /// Expected milliseconds of the best schedule that does not know which drafts are right.
    pub blind_ms: f64,
    /// Milliseconds that the latter schedule takes on this very text.
    pub lived_ms: Option<f64>,
}

/// The bounds of each result's text, with the costs this contest measured. What the contestants
/// `left_out` took is no part of these: they ran on other cores.
pub(super) fn bounds(
    known: &BoundInputs,
    results: &Results,
    left_out: &[usize],
    tasks: usize,
) -> Vec<Bound> {
    let costs = measured(&known.costs, results, left_out);
    (0..results.len())
        .map(|i| bound(&known.records[i % tasks], &costs))
        .collect()
}

fn bound(record: &Record, costs: &Costs) -> Bound {
    let seeing_ms = least_ms(record, costs);
    // What could be expected of a text may be more than what came of it allows.
    let blind = blind(record, costs);
    Bound {
        seeing_ms,
        blind_ms: blind.expected_ms.max(seeing_ms),
        lived_ms: blind.lived_ms,
    }
}

/// The costs as they were known before, with what the forwards of this contest took.
fn measured(before: &Costs, results: &Results, left_out: &[usize]) -> Costs {
    /// Fewer forwards of a size say little.
    const ENOUGH: usize = 5;
    let mut by_rows: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    let (mut draft_ms, mut draft_forwards) = (0.0, 0);
    let all = results
        .iter()
        .flat_map(|samples| samples.iter().enumerate());
    for (_, sample) in all.filter(|(k, _)| !left_out.contains(k)) {
        for &(rows, ms) in &sample.forwards {
            by_rows.entry(rows).or_default().push(ms);
        }
        draft_ms += sample.draft_ms;
        draft_forwards += sample.draft_forwards;
    }
    let mut points: BTreeMap<u32, f64> = before.target.points().collect();
    let seen = by_rows
        .into_iter()
        .filter(|(_, times)| times.len() >= ENOUGH);
    points.extend(seen.map(|(rows, times)| (rows, Spread::of(times).median)));
    let mut costs = before.clone();
    costs.target = CostCurve::from_points(points);
    // Steps include catching up, so the mean is above a step's own cost; the bound takes
    // the smaller of this and what was measured alone.
    let mean = draft_ms / draft_forwards.max(1) as f64;
    if draft_forwards > 0 {
        costs.draft_step = mean.min(costs.draft_step);
    }
    costs
}
