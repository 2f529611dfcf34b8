//! The bound of drafts in their order: what perfect information could reach on lanes of their own.
//!
//! The bound of [perfect information](super::least_ms) lets both lanes overlap in any way. But a
//! draft needs the tokens before it. Where the text goes on with a token that nobody proposed, the
//! drafter cannot go on before the target wrote it, and then it begins with nothing: its steps
//! come one after the other. This bound adds that, and is generous with the rest: drafts are never
//! wrong, side branches cost nothing, model-free proposals are there at once, a forward takes no
//! longer for its candidates, and messages take no time.

use super::costs::Costs;
use super::record::Record;

/// Parts of a draft step in which progress is counted, rounded up.
const PARTS: usize = 4;

/// Least milliseconds for the whole text on lanes of their own. Dynamic programming from the end,
/// over what is written and how far ahead is drafted.
pub fn pipelined_ms(record: &Record, costs: &Costs) -> f64 {
    let forward_ms = costs.target.ms(1);
    let step_ms = costs.draft_step;
    let length = record.drafted.len();
    let parts = forward_ms / step_ms * PARTS as f64;
    if !parts.is_finite() {
        return 0.0;
    }
    // A drafter that is further ahead has no more to offer.
    let during = (parts.ceil() as usize).min(PARTS * length);
    let span = costs.most + during / PARTS + 2;
    let way = DraftWay::new(record);
    let mut least = LeastTimes::new(length, span);
    for written in (0..length).rev() {
        for ahead in 0..=span.min(length - written) {
            for part in 0..PARTS {
                let at = DraftProgress {
                    place: written + ahead,
                    part,
                };
                let ms = best_launch(&way, costs, &least, written, at, during);
                least.set(written, at, ms);
            }
        }
    }
    // While the target reads the prompt the drafter may come as far as it can.
    let start = way.on(DraftProgress::default(), PARTS * length);
    least.get(0, start)
}

/// How far ahead is drafted: up to this place, and so many parts of the step for it are done.
#[derive(Clone, Copy, Default)]
struct DraftProgress {
    place: usize,
    part: usize,
}

/// What a drafter can do at each place of a text.
struct DraftWay {
    places: Vec<PlaceKind>,
}

#[derive(Clone, Copy, PartialEq)]
enum PlaceKind {
    /// A model-free source proposes the token.
    Free,
    /// The draft model does.
    Step,
    /// Nobody does.
    Blocked,
}

impl DraftWay {
    fn new(record: &Record) -> Self {
        let mut known_to = 0;
        let places = record.drafted.iter().enumerate().map(|(i, drafted)| {
            let right = record.lookup_right.get(i).map_or(0, |&n| n as usize);
            known_to = known_to.max(i + right);
            match drafted {
                _ if i < known_to => PlaceKind::Free,
                Some(_) => PlaceKind::Step,
                None => PlaceKind::Blocked,
            }
        });
        DraftWay {
            places: places.collect(),
        }
    }

    /// How far the drafter is so many parts of a step later.
    fn on(&self, mut at: DraftProgress, mut parts: usize) -> DraftProgress {
        while let Some(&place) = self.places.get(at.place) {
            match place {
                PlaceKind::Blocked => break,
                PlaceKind::Free => {}
                PlaceKind::Step if at.part + parts >= PARTS => parts -= PARTS - at.part,
                PlaceKind::Step => {
                    at.part += parts;
                    return at;
                }
            }
            at = DraftProgress {
                place: at.place + 1,
                part: 0,
            };
        }
        at.part = 0;
        at
    }
}

/// Least milliseconds from each state on.
struct LeastTimes {
    length: usize,
    span: usize,
    ms: Vec<f64>,
}

impl LeastTimes {
    fn new(length: usize, span: usize) -> Self {
        LeastTimes {
            length,
            span,
            ms: vec![0.0; length * (span + 1) * PARTS],
        }
    }

    fn index(&self, written: usize, at: DraftProgress) -> usize {
        let ahead = at.place.saturating_sub(written).min(self.span);
        (written * (self.span + 1) + ahead) * PARTS + at.part
    }

    fn set(&mut self, written: usize, at: DraftProgress, ms: f64) {
        let index = self.index(written, at);
        self.ms[index] = ms;
    }

    /// Nothing is left of a text that is written.
    fn get(&self, written: usize, at: DraftProgress) -> f64 {
        if written >= self.length {
            return 0.0;
        }
        self.ms[self.index(written, at)]
    }
}

/// The least time from here on, over when the next forward is launched: now, or when the drafter
/// has taken some more steps.
fn best_launch(
    way: &DraftWay,
    costs: &Costs,
    least: &LeastTimes,
    written: usize,
    mut at: DraftProgress,
    during: usize,
) -> f64 {
    let forward_ms = costs.target.ms(1);
    let left = least.length - written - 1;
    let mut waited = 0;
    let mut best = f64::INFINITY;
    loop {
        let verified = (at.place - written).min(costs.most).min(left);
        let then = written + verified + 1;
        let mut drafted = way.on(at, during);
        if drafted.place < then {
            // The target wrote what the drafter stood before: it begins anew.
            drafted = DraftProgress {
                place: then,
                part: 0,
            };
        }
        let wait_ms = costs.draft_step * waited as f64 / PARTS as f64;
        best = best.min(wait_ms + forward_ms + least.get(then, drafted));
        let next = way.on(at, PARTS - at.part);
        if next.place == at.place || verified == costs.most.min(left) {
            return best;
        }
        waited += PARTS - at.part;
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use card_core::cost::CostCurve;
    use card_core::protocol::Lanes;

    use super::super::seeing::least_ms;
    use super::*;

    fn costs(draft_step: f64) -> Costs {
        let target = CostCurve::from_points([(1, 70.0), (65, 70.0)]);
        let draft = CostCurve::from_points([(1, draft_step)]);
        Costs::new(Lanes::Disjoint, target, &draft)
    }

    fn record(drafted: &[bool]) -> Record {
        Record {
            drafted: drafted.iter().map(|d| d.then_some(0)).collect(),
            ..Record::default()
        }
    }

    #[test]
    fn nothing_proposed_is_plain_decoding() {
        assert_eq!(pipelined_ms(&record(&[false; 12]), &costs(10.0)), 840.0);
        assert_eq!(pipelined_ms(&Record::default(), &costs(10.0)), 0.0);
    }

    #[test]
    fn behind_a_token_that_nobody_proposed_drafting_begins_anew() {
        // The drafter stands before the third place, and the target writes it with the first
        // forward. Six tokens are left, five of them drafted.
        let mut places = [true; 9];
        places[2] = false;
        let r = record(&places);
        let pipelined = pipelined_ms(&r, &costs(10.0));
        // Two forwards, and five draft steps that nothing overlaps.
        assert_eq!(pipelined, 2.0 * 70.0 + 5.0 * 10.0);
        // Both lanes overlapping in any way would be faster.
        assert!(least_ms(&r, &costs(10.0)) < pipelined);
    }

    #[test]
    fn a_drafter_that_is_never_held_up_is_ahead() {
        // Twenty places, all drafted before the first forward.
        assert_eq!(pipelined_ms(&record(&[true; 20]), &costs(10.0)), 70.0);
    }

    #[test]
    fn what_text_at_hand_proposes_holds_nobody_up() {
        let mut r = record(&[false; 8]);
        r.lookup_right = (0..8).rev().map(|n| n + 1).collect();
        assert_eq!(pipelined_ms(&r, &costs(10.0)), 70.0);
    }

    #[test]
    fn a_drafter_that_takes_no_time_is_no_obstacle() {
        let mut none = costs(10.0);
        none.draft_step = 0.0;
        assert_eq!(pipelined_ms(&record(&[true; 4]), &none), 0.0);
    }
}
