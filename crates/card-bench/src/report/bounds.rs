//! How fast the texts of a contest could have been written at the most.

use std::collections::BTreeMap;

use card_core::cost::CostCurve;

use crate::bound::{Costs, Record, TextBound};
use crate::contest::{Contestant, Results, baseline};
use crate::stats::Spread;

/// What the bounds of a contest's texts are computed from.
pub struct BoundInputs {
    /// What is known of each task's text, in the order of the tasks.
    pub records: Vec<Record>,
    /// The costs of both models' forwards, as they were measured before.
    pub costs: Costs,
}

/// The bounds of each result's text, with the costs this contest measured. What other contestants
/// that decode plainly took than the [baseline] is no part of these: they ran on other cores.
pub fn text_bounds(
    known: &BoundInputs,
    contestants: &[Contestant],
    results: &Results,
    tasks: usize,
) -> Vec<TextBound> {
    let plain = baseline(contestants, results);
    let others = (0..contestants.len()).filter(|&k| contestants[k].plain && k != plain);
    let costs = measured(&known.costs, results, &others.collect::<Vec<_>>());
    let each: Vec<TextBound> = known
        .records
        .iter()
        .map(|record| TextBound::of(record, &costs))
        .collect();
    (0..results.len()).map(|i| each[i % tasks]).collect()
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
