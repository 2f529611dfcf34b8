//! What a schedule with perfect information could have reached.
//!
//! It knows the text, and for every position what each source would have proposed there.
//! So it never drafts or verifies a token that turns out wrong, and takes for each round
//! the number of candidates that is best in the long run. No schedule of the same sources
//! on the same devices can be faster, so the share of it that a run reached tells how much
//! a better policy could still bring, and how much only better drafts or devices could.

mod blind;
mod witness;

use card_core::cost::CostCurve;
use card_core::policy::Lanes;

pub use blind::{Blind, blind};
pub use witness::{Witness, records};

/// What is known of a text, position by position.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Which of the draft model's proposals, given the text so far and best first, is the token
    /// that comes; `None` for none of them.
    pub drafted: Vec<Option<usize>>,
    /// How many tokens from here on the sources that need no model propose rightly.
    pub free: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Probabilities that its proposals are right, best first, by how often such proposals are.
    pub chances: Vec<Vec<f64>>,
    /// What text at hand proposes from here on.
    pub hand: Vec<Vec<Hand>>,
}

/// A token that text at hand proposes.
#[derive(Clone, Debug, Default)]
pub struct Hand {
    /// Probability that it is right if those before it are, by how often such tokens are.
    pub alone: f64,
    /// The same for those who asked the draft model too.
    pub chance: f64,
    /// Probabilities of the draft model's other proposals for its place, best first.
    pub beside: Vec<f64>,
    /// Which of those is right, if one is.
    pub beside_right: Option<usize>,
}

/// What forwards take.
#[derive(Clone, Debug)]
pub struct Costs {
    /// Where the two models run.
    pub lanes: Lanes,
    /// The target's.
    pub target: CostCurve,
    /// Milliseconds of a draft forward of one row.
    pub draft_step: f64,
    /// Milliseconds that another row of it adds at the least.
    draft_row: f64,
    /// Milliseconds per token of a prompt it reads, at the least.
    draft_read: f64,
}

impl Costs {
    /// With the curves of both models' forwards.
    pub fn new(lanes: Lanes, target: CostCurve, draft: &CostCurve) -> Self {
        let step = draft.ms(1);
        let more = draft.points().filter(|p| p.0 > 1);
        let row = more.map(|(rows, ms)| (ms - step) / f64::from(rows - 1));
        let read = draft.points().map(|(rows, ms)| ms / f64::from(rows));
        Costs {
            lanes,
            target,
            draft_step: step,
            draft_row: row.reduce(f64::min).unwrap_or(0.0).clamp(0.0, step),
            draft_read: read.reduce(f64::min).unwrap_or(0.0),
        }
    }

    /// What the drafter's reading of a prompt takes from decoding: on lanes of their own it
    /// reads while the target does.
    fn reading(&self, tokens: usize) -> f64 {
        match self.lanes {
            Lanes::Shared => tokens as f64 * self.draft_read,
            Lanes::Disjoint => 0.0,
        }
    }

    /// The least that looking past so many nodes on so many levels of a tree takes: a level
    /// needs the one before.
    fn drafting(&self, levels: usize, nodes: usize) -> f64 {
        let more = nodes.saturating_sub(levels) as f64;
        levels as f64 * self.draft_step + more * self.draft_row
    }
}

/// Most candidates of one round that are considered.
const MOST: usize = 64;

/// Least milliseconds for the whole text (its length is the record's).
pub fn least_ms(record: &Record, costs: &Costs) -> f64 {
    drafting_or_not(record, costs, |drafts| {
        over_lanes(costs.lanes, |target, draft| {
            let step = if drafts {
                draft * costs.draft_step
            } else {
                f64::INFINITY
            };
            schedule(record, &costs.target, target, step)
        })
    })
}

/// The lesser of `least(true)`, where the drafter has to read the prompt first, and
/// `least(false)`, where nobody drafts.
fn drafting_or_not(record: &Record, costs: &Costs, least: impl Fn(bool) -> f64) -> f64 {
    f64::min(costs.reading(record.prompt) + least(true), least(false))
}

/// The least time, if `weighted` gives the least sum of the target's and the drafter's times
/// with these weights.
///
/// On a shared lane a draft step takes its time. On lanes of their own, the time is at
/// least the target's and at least the drafter's; the bound is the best one that a mixture
/// of the two gives (Lagrangian duality), so it holds however the two overlap.
fn over_lanes(lanes: Lanes, weighted: impl Fn(f64, f64) -> f64) -> f64 {
    match lanes {
        Lanes::Shared => weighted(1.0, 1.0),
        Lanes::Disjoint => (0..=20)
            .map(|i| f64::from(i) / 20.0)
            .map(|share| weighted(1.0 - share, share))
            .fold(0.0, f64::max),
    }
}

/// The cheapest way through the text if target time has that weight and a draft step that
/// cost. Dynamic programming from the end.
fn schedule(record: &Record, target: &CostCurve, weight: f64, draft_step: f64) -> f64 {
    let length = record.drafted.len();
    let verify: Vec<f64> = (0..=MOST as u32)
        .map(|n| weight * target.ms(1 + n))
        .collect();
    let mut least = vec![0.0; length + MOST + 2];
    let mut run = 0;
    for i in (0..length).rev() {
        run = if record.drafted[i].is_some() {
            run + 1
        } else {
            0
        };
        let free = record.free.get(i).map_or(0, |&f| f as usize);
        // The last token of a round is the target's own.
        let left = length - i - 1;
        let mut best = verify[0] + least[i + 1];
        for (n, ms) in verify.iter().enumerate().skip(1).take(left) {
            if n > free && n > run {
                break;
            }
            let drafting = if n <= free {
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
    use super::*;

    fn flat(lanes: Lanes, draft_step: f64) -> Costs {
        let target = CostCurve::from_points([(1, 10.0), (65, 10.0)]);
        Costs::new(lanes, target, &CostCurve::from_points([(1, draft_step)]))
    }

    fn record(drafted: &[bool]) -> Record {
        Record {
            drafted: drafted.iter().map(|d| d.then_some(0)).collect(),
            free: vec![0; drafted.len()],
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
    fn free_proposals_cost_nothing() {
        let r = Record {
            drafted: vec![None; 8],
            free: (0..8).rev().map(|n| n + 1).collect(),
            ..Record::default()
        };
        assert_eq!(least_ms(&r, &flat(Lanes::Shared, 5.0)), 10.0);
    }
}
