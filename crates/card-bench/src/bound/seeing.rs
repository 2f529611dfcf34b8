//! The bound of perfect information: a schedule that sees which proposals are right.

use super::costs::{Costs, MOST, drafting_or_not, over_lanes};
use super::record::Record;

/// Least milliseconds for the whole text (its length is the record's).
pub fn least_ms(record: &Record, costs: &Costs) -> f64 {
    drafting_or_not(record.prompt, costs, |drafts| {
        over_lanes(costs.lanes, |target, draft| {
            let step = if drafts {
                draft * costs.draft_step
            } else {
                f64::INFINITY
            };
            schedule(record, costs, target, step)
        })
    })
}

/// The cheapest way through the text if target time has that weight and a draft step that
/// cost. Dynamic programming from the end.
fn schedule(record: &Record, costs: &Costs, weight: f64, draft_step: f64) -> f64 {
    let length = record.drafted.len();
    let verify: Vec<f64> = (0..=costs.most as u32)
        .map(|n| weight * costs.target.ms(1 + n))
        .collect();
    let mut least = vec![0.0; length + MOST + 2];
    let mut run = 0;
    for i in (0..length).rev() {
        run = if record.drafted[i].is_some() {
            run + 1
        } else {
            0
        };
        let lookup = record.lookup_right.get(i).map_or(0, |&n| n as usize);
        // The last token of a round is the target's own.
        let left = length - i - 1;
        let mut best = verify[0] + least[i + 1];
        for (n, ms) in verify.iter().enumerate().skip(1).take(left) {
            if n > lookup && n > run {
                break;
            }
            let drafting = if n <= lookup {
                0.0
            } else {
                n as f64 * draft_step
            };
            best = f64::min(best, ms + drafting + least[i + n + 1]);
        }
        least[i] = best;
    }
    least[0]
}

#[cfg(test)]
mod tests {
    use card_core::cost::CostCurve;
    use card_core::protocol::Lanes;

    use super::*;

    fn flat(lanes: Lanes, draft_step: f64) -> Costs {
        let target = CostCurve::from_points([(1, 10.0), (65, 10.0)]);
        Costs::new(lanes, target, &CostCurve::from_points([(1, draft_step)]))
    }

    fn record(drafted: &[bool]) -> Record {
        Record {
            drafted: drafted.iter().map(|d| d.then_some(0)).collect(),
            lookup_right: vec![0; drafted.len()],
            ..Record::default()
        }
    }

    #[test]
    fn nothing_proposed_is_plain_decoding() {
        let r = record(&[false; 12]);
        assert_eq!(least_ms(&r, &flat(Lanes::Shared, 1.0)), 120.0);
        assert_eq!(least_ms(&r, &flat(Lanes::Disjoint, 1.0)), 120.0);
    }

    #[test]
    fn everything_right_is_one_round_but_drafts_take_time() {
        let r = record(&[true; 10]);
        // Nine drafts and one forward.
        assert_eq!(least_ms(&r, &flat(Lanes::Shared, 1.0)), 19.0);
        assert_eq!(least_ms(&r, &flat(Lanes::Disjoint, 1.0)), 10.0);
        // A drafter on a lane of its own that is the slower one.
        let slow = least_ms(&r, &flat(Lanes::Disjoint, 4.0));
        assert!(slow > 15.0 && slow < 36.0, "{slow}");
    }

    #[test]
    fn no_round_has_more_candidates_than_the_target_has_rows() {
        let r = record(&[true; 10]);
        // Forwards of four rows: three drafts and the target's own token, three times over.
        let narrow = flat(Lanes::Shared, 1.0).within(4);
        assert_eq!(least_ms(&r, &narrow), 3.0 * 10.0 + 7.0);
        assert_eq!(least_ms(&r, &flat(Lanes::Shared, 1.0).within(0)), 100.0);
    }

    #[test]
    fn a_prompt_that_is_not_worth_reading_is_not_read() {
        let mut r = record(&[true; 10]);
        r.prompt = 30;
        assert_eq!(least_ms(&r, &flat(Lanes::Shared, 1.0)), 19.0 + 30.0);
        assert_eq!(least_ms(&r, &flat(Lanes::Disjoint, 1.0)), 10.0);
        r.prompt = 1000;
        assert_eq!(least_ms(&r, &flat(Lanes::Shared, 1.0)), 100.0);
    }

    #[test]
    fn a_wrong_draft_ends_a_round() {
        // t t f t t: the third is the target's own.
        let r = record(&[true, true, false, true, true]);
        assert_eq!(
            least_ms(&r, &flat(Lanes::Shared, 1.0)),
            10.0 + 2.0 + 10.0 + 1.0
        );
    }

    #[test]
    fn proposals_without_a_model_cost_nothing() {
        let r = Record {
            drafted: vec![None; 8],
            lookup_right: (0..8).rev().map(|n| n + 1).collect(),
            ..Record::default()
        };
        assert_eq!(least_ms(&r, &flat(Lanes::Shared, 5.0)), 10.0);
    }
}
