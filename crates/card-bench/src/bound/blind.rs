//! The blind bound: what a schedule could reach that does not know which proposals are right.
//!
//! It knows how sure the sources are at every place of the text, ahead too, and how often
//! proposals like that are right; only what comes of each is left to chance. Where the
//! model-free sources and the draft model agree, the schedule knows that once the draft model
//! read their chain, all of it in one forward. It takes the tree that is best in the long run. So on average no policy of the same
//! sources is faster, and what a run lacks of it is the policy's to improve. The rest, up
//! to the bound of [perfect information](super), nobody can have.

use std::collections::BTreeSet;

use card_core::protocol::Lanes;

use super::branches::{Branch, BranchTree, LEAST};
use super::costs::{Costs, MOST, drafting_or_not, over_lanes};
use super::record::Record;

/// Draft nodes a tree may look past; what others would add is next to nothing.
const EXPANSIONS: usize = 48;
/// What the best schedule without foresight takes.
#[derive(Clone, Copy, Debug)]
pub struct Blind {
    /// Expected milliseconds for the whole text. On average over many texts no policy needs
    /// less; on one text chance may be kinder or harder.
    pub expected_ms: f64,
    /// Milliseconds that this schedule takes on this very text: it chooses by probabilities, and
    /// the text says which of the chosen candidates are accepted. `None` on lanes of their own,
    /// where that schedule is a mixture and no single one.
    pub lived_ms: Option<f64>,
}

/// Follows that schedule through the whole text.
pub fn blind(record: &Record, costs: &Costs) -> Blind {
    if costs.lanes == Lanes::Shared {
        let drafting = schedule(record, costs, 1.0, Some(1.0)).after(costs.reading(record.prompt));
        let best = drafting.or(schedule(record, costs, 1.0, None));
        return Blind {
            expected_ms: best.expected,
            lived_ms: Some(best.lived),
        };
    }
    let expected_ms = drafting_or_not(record.prompt, costs, |drafts| {
        over_lanes(costs.lanes, |target, draft| {
            schedule(record, costs, target, drafts.then_some(draft)).expected
        })
    });
    Blind {
        expected_ms,
        lived_ms: None,
    }
}

/// Milliseconds for a text from some place on.
#[derive(Clone, Copy, Default)]
struct Time {
    /// Expected before anything is known to be right.
    expected: f64,
    /// With the candidates that are right on this very text.
    lived: f64,
}

impl Time {
    /// The time with so many milliseconds added.
    fn after(self, ms: f64) -> Time {
        Time {
            expected: self.expected + ms,
            lived: self.lived + ms,
        }
    }

    /// The one of which less is expected; the first, if they are alike.
    fn or(self, other: Time) -> Time {
        if other.expected < self.expected {
            other
        } else {
            self
        }
    }
}

/// Time with these weights of the lanes' times; without one of the drafter's, nobody drafts.
/// Dynamic programming from the end.
fn schedule(record: &Record, costs: &Costs, weight: f64, draft_weight: Option<f64>) -> Time {
    let length = record.drafted.len();
    let verify: Vec<f64> = (0..=costs.most as u32)
        .map(|n| weight * costs.target.ms(1 + n))
        .collect();
    let mut least = vec![Time::default(); length + MOST + 2];
    for i in (0..length).rev() {
        // The last token of a round is the target's own.
        let left = length - i - 1;
        let after = &least[i + 1..];
        let alone = BranchTree::new(record, i, left, 0);
        let best = verified(&alone.nodes, &verify, after);
        let drafts = |draft_weight| with_drafts(record, costs, i, draft_weight, &verify, after);
        least[i] = draft_weight.map(drafts).map_or(best, |d| best.or(d));
    }
    least[0]
}

/// Time from place `i` on if the draft model is used for it.
fn with_drafts(
    record: &Record,
    costs: &Costs,
    i: usize,
    draft_weight: f64,
    verify: &[f64],
    after: &[Time],
) -> Time {
    let left = record.drafted.len() - i - 1;
    let lookup = record
        .lookup
        .get(i)
        .map_or(0, |chain| chain.len().min(left));
    // One forward reads the chain of the model-free sources, and looks past its last token too.
    let read = |asked: usize| match asked {
        0 => 0.0,
        asked => costs.drafting(1, asked),
    };
    let mut best = Time {
        expected: f64::INFINITY,
        lived: f64::INFINITY,
    };
    for asked in (0..=lookup).chain((lookup > 0).then_some(lookup + 1)) {
        let mut tree = BranchTree::new(record, i, left, asked);
        let mut depths = BTreeSet::new();
        for expanded in 0..=EXPANSIONS {
            if expanded > 0 {
                let Some(depth) = tree.draft() else { break };
                depths.insert(depth);
            }
            let drafting = read(asked) + costs.drafting(depths.len(), expanded);
            let rest = verified(&tree.nodes, verify, after);
            best = best.or(rest.after(draft_weight * drafting));
        }
    }
    best
}

/// Time for the rest if the best number of these nodes, best first, is verified, or none;
/// `after` is what is left after one token, two, ….
fn verified(nodes: &[Branch], verify: &[f64], after: &[Time]) -> Time {
    // With the probability `reach` a node that is verified brings the text one token further.
    let mut rest = after[0];
    let mut best = rest.after(verify[0]);
    for (node, ms) in nodes.iter().zip(&verify[1..]) {
        if node.reach < LEAST {
            break;
        }
        rest.expected += node.reach * (after[node.depth].expected - after[node.depth - 1].expected);
        if node.right {
            rest.lived = after[node.depth].lived;
        }
        best = best.or(rest.after(*ms));
    }
    best
}

#[cfg(test)]
mod tests {
    use card_core::cost::CostCurve;
    use card_core::protocol::Lanes;

    use super::*;
    use crate::bound::least_ms;
    use crate::bound::record::LookupToken;

    fn costs(lanes: Lanes, points: &[(u32, f64)], draft: f64) -> Costs {
        Costs::new(
            lanes,
            CostCurve::from_points(points.iter().copied()),
            &CostCurve::from_points([(1, draft), (5, 2.0 * draft)]),
        )
    }

    fn expected_ms(record: &Record, costs: &Costs) -> f64 {
        blind(record, costs).expected_ms
    }

    fn lived_ms(record: &Record, costs: &Costs) -> f64 {
        blind(record, costs).lived_ms.unwrap_or(f64::NAN)
    }

    fn record(chances: Vec<Vec<f64>>, right: &[bool]) -> Record {
        Record {
            drafted: right.iter().map(|r| r.then_some(0)).collect(),
            chances,
            ..Record::default()
        }
    }

    #[test]
    fn nothing_likely_is_plain_decoding() {
        let flat = costs(Lanes::Shared, &[(1, 10.0), (65, 10.0)], 1.0);
        let r = record(vec![vec![0.001]; 12], &[false; 12]);
        assert_eq!(expected_ms(&r, &flat), 120.0);
    }

    #[test]
    fn certainty_is_perfect_information() {
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            let flat = costs(lanes, &[(1, 10.0), (65, 10.0)], 1.0);
            let r = record(vec![vec![1.0]; 10], &[true; 10]);
            let (blind, seeing) = (expected_ms(&r, &flat), least_ms(&r, &flat));
            assert!((blind - seeing).abs() < 1e-9, "{lanes:?} {blind} {seeing}");
        }
    }

    #[test]
    fn two_tokens_by_hand() {
        // One draft step of 1 and a forward of 10 brings both tokens with 0.7 + 0.2, else
        // another forward is needed. Without the draft that is 20.
        let flat = costs(Lanes::Shared, &[(1, 10.0), (65, 10.0)], 1.0);
        let r = record(vec![vec![0.7, 0.2], vec![]], &[true, true]);
        assert!((expected_ms(&r, &flat) - (11.0 + 0.1 * 10.0)).abs() < 1e-9);
        // Where rows cost, only the first is worth one: 1 + 13 + 0.3 · 10.
        let steep = costs(Lanes::Shared, &[(1, 10.0), (2, 13.0), (3, 16.0)], 1.0);
        assert!((expected_ms(&r, &steep) - 17.0).abs() < 1e-9);
    }

    #[test]
    fn a_chain_of_lookup_is_a_chance_that_costs_no_draft() {
        let flat = costs(Lanes::Shared, &[(1, 10.0), (65, 10.0)], 1.0);
        let token = |chance: f64, beside: &[f64]| LookupToken {
            alone: chance,
            chance,
            beside: beside.to_vec(),
            beside_right: None,
        };
        let mut r = record(vec![vec![]; 2], &[false; 2]);
        // Nothing is paid for it, and with 0.6 there is a second forward less.
        r.lookup = vec![vec![token(0.6, &[])], vec![]];
        assert!((expected_ms(&r, &flat) - 14.0).abs() < 1e-9);
        // A draft beside it for 1 saves 0.3 of the second forward, or it is not made.
        r.lookup = vec![vec![token(0.6, &[0.3])], vec![]];
        assert!((expected_ms(&r, &flat) - 12.0).abs() < 1e-9);
        r.lookup = vec![vec![token(0.6, &[0.05])], vec![]];
        assert!((expected_ms(&r, &flat) - 14.0).abs() < 1e-9);
    }

    #[test]
    fn the_draft_model_goes_on_where_lookup_ends() {
        let flat = costs(Lanes::Shared, &[(1, 10.0), (65, 10.0)], 1.0);
        let mut r = record(vec![vec![], vec![0.9], vec![]], &[false; 3]);
        r.lookup = vec![
            vec![LookupToken {
                alone: 1.0,
                chance: 1.0,
                ..LookupToken::default()
            }],
            vec![],
            vec![],
        ];
        // One draft forward of two rows, to past the sure token; a second forward with 0.1.
        assert!((expected_ms(&r, &flat) - (10.0 + 1.25 + 1.0)).abs() < 1e-9);
    }

    #[test]
    fn whether_the_sources_agree_is_known_for_a_draft_forward() {
        let flat = costs(Lanes::Shared, &[(1, 10.0), (2, 16.0), (3, 22.0)], 1.0);
        let mut r = record(vec![vec![]; 3], &[false; 3]);
        let token = |chance| LookupToken {
            alone: 0.5,
            chance,
            ..LookupToken::default()
        };
        // By itself a doubtful token is not worth its row.
        r.lookup = vec![vec![token(0.5), token(0.5)], vec![], vec![]];
        assert!((expected_ms(&r, &flat) - 30.0).abs() < 1e-9);
        // Two that the draft model agrees with are: its forward takes 1.25.
        r.lookup = vec![vec![token(1.0), token(1.0)], vec![], vec![]];
        assert!((expected_ms(&r, &flat) - (22.0 + 1.25)).abs() < 1e-9);
    }

    #[test]
    fn what_comes_of_a_choice_is_what_the_text_says() {
        let flat = costs(Lanes::Shared, &[(1, 10.0), (65, 10.0)], 1.0);
        let lived = |r: &Record| lived_ms(r, &flat);
        // The draft of two_tokens_by_hand is made in any case; its second choice is right, or
        // neither is.
        let mut r = record(vec![vec![0.7, 0.2], vec![]], &[true, true]);
        r.drafted = vec![Some(1), None];
        assert!((lived(&r) - 11.0).abs() < 1e-9);
        r.drafted = vec![None, None];
        assert!((lived(&r) - 21.0).abs() < 1e-9);
        // A lookup token that is right, and one that is wrong, where the draft beside it is right.
        let token = |right| LookupToken {
            alone: 0.6,
            chance: 0.6,
            beside: vec![0.3],
            beside_right: right,
        };
        r = record(vec![vec![]; 2], &[false; 2]);
        (r.lookup, r.lookup_right) = (vec![vec![token(None)], vec![]], vec![1, 0]);
        assert!((lived(&r) - 11.0).abs() < 1e-9);
        (r.lookup, r.lookup_right) = (vec![vec![token(Some(0))], vec![]], vec![0, 0]);
        assert!((lived(&r) - 11.0).abs() < 1e-9);
        r.lookup = vec![vec![token(None)], vec![]];
        assert!((lived(&r) - 21.0).abs() < 1e-9);
    }

    #[test]
    fn over_all_outcomes_what_is_lived_is_what_was_expected() {
        let points = &[(1, 10.0), (2, 12.0), (3, 15.0), (8, 30.0)];
        let costs = costs(Lanes::Shared, points, 2.0);
        let p = [0.8, 0.5, 0.9];
        let mut r = record(
            vec![vec![p[0]], vec![p[1]], vec![p[2]], vec![]],
            &[false; 4],
        );
        let mut mean = 0.0;
        for outcome in 0..8 {
            let right = |k: usize| outcome >> k & 1 == 1;
            let likely = |k: usize| if right(k) { p[k] } else { 1.0 - p[k] };
            r.drafted = (0..4).map(|k| (k < 3 && right(k)).then_some(0)).collect();
            mean += (0..3).map(likely).product::<f64>() * lived_ms(&r, &costs);
        }
        assert!((mean - expected_ms(&r, &costs)).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn not_knowing_is_never_faster_than_knowing_on_average() {
        let points = &[(1, 10.0), (8, 14.0), (16, 30.0)];
        for lanes in [Lanes::Shared, Lanes::Disjoint] {
            let costs = costs(lanes, points, 2.0);
            // Eight outcomes of three places, each as likely as the chances say.
            let p = [0.8, 0.5, 0.9];
            let chances = vec![vec![p[0]], vec![p[1]], vec![p[2]], vec![]];
            let mut knowing = 0.0;
            for outcome in 0..8 {
                let right: Vec<bool> = (0..3).map(|k| outcome >> k & 1 == 1).collect();
                let likely = |k: usize| if right[k] { p[k] } else { 1.0 - p[k] };
                let chance: f64 = (0..3).map(likely).product();
                let right: Vec<bool> = right.iter().copied().chain([false]).collect();
                knowing += chance * least_ms(&record(chances.clone(), &right), &costs);
            }
            let blind = expected_ms(&record(chances, &[true; 4]), &costs);
            assert!(blind >= knowing - 1e-9, "{lanes:?} {blind} {knowing}");
        }
    }
}
