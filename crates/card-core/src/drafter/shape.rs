//! The number of rows of a draft step, where a number that changes costs time.
//!
//! On such a device (`CostCurve::shape_change_ms`) a step is filled up with padding to the rows of
//! the step before it, or to the next step of a ladder, if that is cheaper than a change. Padding
//! costs nobody a draft: its rows are seen by none.

use super::config::DrafterConfig;
use crate::cost::CostCurve;
use crate::forward::{Forward, Row};
use crate::types::Source;

impl DrafterConfig {
    /// Rows up to which a step may be filled up; 0 if none is. A head reads a state with each row,
    /// and padding has none. A model that keeps a state per sequence would need one for the padding.
    pub(super) fn most_padded(&self) -> u32 {
        if self.source == Source::Head || !self.limits.rollback.is_free() {
            return 0;
        }
        self.limits.rows.min(u32::MAX as usize) as u32
    }
}

/// A forward of these rows (at least one), filled up if that is cheaper.
pub(super) fn filled_up(config: &DrafterConfig, cost: &CostCurve, mut rows: Vec<Row>) -> Forward {
    let needed = rows.len() as u32;
    let most = config.most_padded();
    let shape = cost.shape_for(needed, most);
    let small = most > 0 && shape <= CostCurve::WIDEST_SHAPE;
    if small && cost.shape_change_ms() > 0.0 {
        // A device prepares for a number of logits too, and padding has them.
        for row in &mut rows {
            row.logits = true;
        }
    }
    Forward {
        rows,
        pad_to: if shape > needed { shape as usize } else { 0 },
    }
}

/// Milliseconds that the padding of a forward takes.
pub(super) fn padding_ms(cost: &CostCurve, forward: &Forward) -> f64 {
    let needed = forward.rows.len();
    cost.ms(needed.max(forward.pad_to) as u32) - cost.ms(needed as u32)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::forward::{Limits, Rollback};
    use crate::protocol::{DraftPlan, Lanes};
    use crate::types::SequenceId;

    const LIMITS: Limits = Limits {
        context: 100,
        cells: 400,
        rows: 24,
        leaves: 4,
        rollback: Rollback::Free,
    };

    fn config(source: Source, limits: Limits) -> DrafterConfig {
        let plan = DraftPlan {
            chain: None,
            branch: 3,
            max_depth: 6,
            cache_bytes: 1 << 14,
            prefix_slots: 1,
            lanes: Lanes::Shared,
        };
        plan.config(source, limits, 20)
    }

    /// A device on which a change of shape costs 1.5 ms, and whose last forward had 4 rows.
    fn changing() -> CostCurve {
        let mut cost = CostCurve::from_points([(1, 1.1), (4, 1.2), (8, 1.4)]);
        for _ in 0..6 {
            for (rows, ms) in [(1, 2.6), (1, 1.1), (1, 1.1), (4, 2.7), (4, 1.2), (4, 1.2)] {
                cost.observe(rows, Duration::from_secs_f64(ms / 1e3));
            }
        }
        cost
    }

    /// Rows of which only the last one has logits.
    fn rows(count: u64) -> Vec<Row> {
        let row = |i| Row {
            sequence: SequenceId(1),
            token: 1,
            position: i as u32,
            cell: i + 1,
            parent: (i > 0).then_some(i),
            logits: i + 1 == count,
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn a_step_repeats_the_shape_of_the_one_before_and_all_its_rows_have_logits() {
        let config = config(Source::Draft, LIMITS);
        let cost = changing();
        for needed in 1..=4 {
            let forward = filled_up(&config, &cost, rows(needed));
            assert_eq!(forward.rows.len().max(forward.pad_to), 4);
            assert!(forward.rows.iter().all(|r| r.logits));
        }
        let prompt = filled_up(&config, &cost, rows(60));
        assert_eq!((prompt.rows.len(), prompt.pad_to), (60, 0));
        assert!(!prompt.rows[0].logits);
    }

    #[test]
    fn nothing_is_filled_up_where_a_change_costs_nothing_or_padding_has_no_place() {
        let free = CostCurve::from_points([(1, 1.1), (8, 1.4)]);
        let draft = config(Source::Draft, LIMITS);
        let states = Limits {
            rollback: Rollback::Checkpoint,
            ..LIMITS
        };
        let cases = [
            (draft, free),
            (config(Source::Head, LIMITS), changing()),
            (config(Source::Draft, states), changing()),
        ];
        for (config, cost) in cases {
            let forward = filled_up(&config, &cost, rows(2));
            assert_eq!(forward.pad_to, 0);
            assert!(!forward.rows[0].logits);
        }
    }
}
