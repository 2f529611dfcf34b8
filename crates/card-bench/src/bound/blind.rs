//! What a schedule could reach that does not know which drafts are right.
//!
//! It knows how sure the draft model is at every place of the text, ahead too, and how
//! often drafts of that sureness are right; only what comes of each is left to chance. It
//! takes the tree that is best in the long run. So on average no policy of the same
//! sources is faster, and what a run lacks of it is the policy's to improve. The rest, up
//! to the bound of [perfect information](super), nobody can have.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{Costs, MOST, Record, drafting_or_not, over_lanes};

/// Draft nodes a tree may look past; what others would add is next to nothing.
const EXPANSIONS: usize = 48;
/// Neither are nodes of less reach looked past or verified.
const LEAST: f64 = 0.01;

/// Expected milliseconds for the whole text, at the best.
pub fn expected_ms(record: &Record, costs: &Costs) -> f64 {
    drafting_or_not(record, costs, |drafts| {
        over_lanes(costs.lanes, |target, draft| {
            schedule(record, costs, target, drafts.then_some(draft))
        })
    })
}

/// A place in the tree: the probability to get there, and the tokens that takes.
#[derive(Clone, Copy, PartialEq)]
struct Node {
    reach: f64,
    depth: usize,
}

impl Eq for Node {}

impl Ord for Node {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_reach = self.reach.total_cmp(&other.reach);
        by_reach.then(other.depth.cmp(&self.depth))
    }
}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Expected time with these weights of the lanes' times; without one of the drafter's, nobody
/// drafts. Dynamic programming from the end.
fn schedule(record: &Record, costs: &Costs, weight: f64, draft_weight: Option<f64>) -> f64 {
    let length = record.drafted.len();
    let verify: Vec<f64> = (0..=MOST as u32)
        .map(|n| weight * costs.target.ms(1 + n))
        .collect();
    let mut least = vec![0.0; length + MOST + 2];
    for i in (0..length).rev() {
        // The last token of a round is the target's own.
        let left = length - i - 1;
        let mut best = verify[0] + least[i + 1];
        let free = record.free.get(i).map_or(0, |&n| n as usize);
        for n in 1..=free.min(left).min(MOST) {
            best = f64::min(best, verify[n] + least[i + n + 1]);
        }
        let Some(draft_weight) = draft_weight else {
            least[i] = best;
            continue;
        };
        let mut heap = BinaryHeap::from([Node {
            reach: 1.0,
            depth: 0,
        }]);
        let mut nodes: Vec<Node> = Vec::new();
        let (mut expanded, mut levels) = (0, 0);
        while let Some(node) = heap.pop().filter(|n| n.reach >= LEAST) {
            if node.depth >= left || expanded == EXPANSIONS {
                break;
            }
            expanded += 1;
            levels = levels.max(node.depth + 1);
            for chance in &record.chances[i + node.depth] {
                let child = Node {
                    reach: node.reach * chance,
                    depth: node.depth + 1,
                };
                heap.push(child);
                let at = nodes.partition_point(|n| n.reach >= child.reach);
                nodes.insert(at, child);
            }
            let drafting = draft_weight * costs.drafting(levels, expanded);
            best = f64::min(best, drafting + verified(&nodes, &verify, &least[i + 1..]));
        }
        least[i] = best;
    }
    least[0]
}

/// Expected time for the rest if the best number of these nodes, best first, is verified;
/// `after` is what is left after one token, two, ….
fn verified(nodes: &[Node], verify: &[f64], after: &[f64]) -> f64 {
    let mut best = f64::INFINITY;
    // Expected time for the rest; a node of the tree moves its reach one token on.
    let mut rest = after[0];
    for (node, ms) in nodes.iter().zip(&verify[1..]) {
        if node.reach < LEAST {
            break;
        }
        rest += node.reach * (after[node.depth] - after[node.depth - 1]);
        best = f64::min(best, ms + rest);
    }
    best
}

#[cfg(test)]
mod tests {
    use card_core::cost::CostCurve;
    use card_core::policy::Lanes;

    use super::*;
    use crate::bound::least_ms;

    fn costs(lanes: Lanes, points: &[(u32, f64)], draft: f64) -> Costs {
        Costs::new(
            lanes,
            CostCurve::from_points(points.iter().copied()),
            &CostCurve::from_points([(1, draft), (5, 2.0 * draft)]),
        )
    }

    fn record(chances: Vec<Vec<f64>>, right: &[bool]) -> Record {
        Record {
            drafted: right.to_vec(),
            free: vec![0; right.len()],
            prompt: 0,
            chances,
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
