//! Catching up: decoding what was committed and is not in the draft model's stem.

use std::collections::BTreeMap;

use super::config::DrafterConfig;
use super::sequence::DraftSequence;
use super::step::{CaughtUp, DraftStep};
use crate::cost::CostCurve;
use crate::forward::{CellNames, push_text};
use crate::protocol::Lanes;
use crate::types::SequenceId;

/// A sequence that was passed over in so many steps, one behind the other, comes first in a step; and
/// of so many steps, one at most is such a turn, however many sequences wait for theirs.
const MOST_PASSED_OVER: u32 = 8;

/// Adds rows for committed tokens that are not decoded yet, as many as one step takes: first of the
/// sequences that have the fewest, so that one with a long prompt does not keep the others from
/// drafting. Where others with fewer keep coming, it has a step of its own now and then: `since_turn`
/// counts the steps since the last one. If a sequence's last token is among them, its logits are looked
/// past. `cost` is what is known of the model's forwards.
pub(super) fn catch_up(
    sequences: &mut BTreeMap<SequenceId, DraftSequence>,
    config: &DrafterConfig,
    cost: &CostCurve,
    names: &mut CellNames,
    since_turn: &mut u32,
    step: &mut DraftStep,
) {
    let most = most_rows(config, cost, sequences.len());
    let behind =
        |draft: &DraftSequence| !draft.rooted && draft.is_wanted(config) && draft.fits(config);
    let all = sequences
        .iter_mut()
        .map(|(&sequence, draft)| (sequence, draft));
    let mut waiting: Vec<(SequenceId, &mut DraftSequence)> =
        all.filter(|(_, draft)| behind(draft)).collect();
    waiting.sort_by_key(|(_, draft)| draft.pending());
    *since_turn = since_turn.saturating_add(1);
    let oldest = (0..waiting.len()).max_by_key(|&i| waiting[i].1.passed_over);
    let in_turn = |i: &usize| waiting[*i].1.passed_over >= MOST_PASSED_OVER;
    if let Some(i) = oldest.filter(|i| *since_turn > MOST_PASSED_OVER && in_turn(i)) {
        waiting[..=i].rotate_right(1);
        *since_turn = 0;
    }
    for (sequence, draft) in waiting {
        let room = most.saturating_sub(step.rows.len());
        let count = draft.pending().min(room);
        draft.passed_over = if count > 0 {
            0
        } else {
            draft.passed_over.saturating_add(1)
        };
        let end = draft.decoded + count;
        let (tokens, range) = (&draft.tokens, draft.decoded..end);
        if let Some(tip) = push_text(&mut step.rows, names, sequence, tokens, range) {
            if end == tokens.len() {
                step.expand_last(sequence, draft.replica.root());
            }
            step.caught_up.push(CaughtUp {
                sequence,
                tip,
                count,
            });
        }
    }
}

/// Rows that one step catches up with at most. On a lane that it shares with several sequences, a
/// step in which a drafter reads a prompt is a short one: the others wait for it.
fn most_rows(config: &DrafterConfig, cost: &CostCurve, sequences: usize) -> usize {
    let most = config.limits.rows;
    if config.lanes == Lanes::Disjoint || sequences < 2 {
        return most;
    }
    cost.rows_within(Lanes::reading_ms(cost.ms(1)), 0, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Limits, Rollback};
    use crate::protocol::DraftPlan;
    use crate::types::Source;

    #[test]
    fn a_prompt_is_read_in_pieces_only_where_others_wait_for_it() {
        let limits = Limits {
            context: 8192,
            cells: 1 << 14,
            rows: 512,
            leaves: 8,
            rollback: Rollback::Free,
        };
        let plan = DraftPlan {
            chain: None,
            branch: 4,
            max_depth: 24,
            cache_bytes: 1 << 16,
            prefix_slots: 1,
            lanes: Lanes::Shared,
        };
        let shared = plan.config(Source::Draft, limits, 100);
        let apart = DrafterConfig {
            lanes: Lanes::Disjoint,
            ..shared
        };
        let cost = CostCurve::from_points([(1, 11.0), (101, 111.0)]);
        assert_eq!(most_rows(&shared, &cost, 1), 512);
        assert_eq!(most_rows(&apart, &cost, 4), 512);
        assert_eq!(most_rows(&shared, &cost, 2), 48);
        // Of a model whose single rows take longer, more than one is read at a time.
        let slow = CostCurve::from_points([(1, 100.0), (11, 200.0)]);
        assert_eq!(most_rows(&shared, &slow, 2), 8);
    }
}
