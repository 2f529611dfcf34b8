//! Which number of rows the next forward best has, where a number that changes costs time.
//!
//! Where it does ([`CostCurve::shape_change_ms`]), a forward is filled up to the rows of the one
//! before it, or to the next step of a ladder, if padding is cheaper. Candidates that take the place
//! of padding are free then. So sizes repeat, because the costs say so: nothing here prescribes them.
//!
//! What a shape that is kept costs against the best size without any change is noted, and a shape is
//! given up when that comes to a change ([`CostCurve::forgo`]).
//!
//! [`CostCurve::shape_change_ms`]: crate::cost::CostCurve::shape_change_ms
//! [`CostCurve::forgo`]: crate::cost::CostCurve::forgo

use super::config::Mode;
use super::draft_or_launch::PREFILL_ROWS;
use super::situation::{Base, Candidate, DraftOption, Situation};
use super::state::Policy;
use crate::types::Source;

impl Policy {
    /// Says that no decoding forward is filled up to more than `rows` rows to repeat a shape.
    #[must_use]
    pub fn at_most(mut self, rows: usize) -> Self {
        self.most_rows = rows.min(u32::MAX as usize) as u32;
        self
    }

    /// What the next forward of the target counts for, in milliseconds, if it decodes `rows` rows:
    /// its padding and a change of shape included.
    pub(super) fn launch_ms(&self, rows: u32) -> f64 {
        self.target.next_ms(self.padded(rows), self.most_rows)
    }

    /// Rows of that forward, padding included.
    pub(super) fn launch_shape(&self, rows: u32) -> u32 {
        self.target.shape_for(self.padded(rows), self.most_rows)
    }

    /// Milliseconds that a plain round costs in changes of shape: there and back again.
    pub(super) fn changes_for_plain_ms(&self, sequences: u32) -> f64 {
        let change = self.target.shape_change_ms();
        if self.target.is_in_shape(self.padded(sequences)) {
            0.0
        } else {
            2.0 * change
        }
    }

    /// Notes what a forward with the first `size` candidates loses against the best one if a change
    /// of shape were free.
    pub(super) fn note_forgone(&mut self, base: Base, candidates: &[Candidate], size: usize) {
        if self.target.shape_change_ms() <= 0.0 {
            return;
        }
        let best = self.best_size_by(base, candidates, 0, |rows| self.forward_ms(rows));
        let shape_ms = self.target.ms(self.launch_shape(base.rows + size as u32));
        let chosen = self.best_size_by(base, &candidates[..size], size, |_| shape_ms);
        let ms = (best.1 - chosen.1) / self.rate(base).max(f64::MIN_POSITIVE);
        self.target
            .forgo(ms + std::mem::take(&mut self.held_back_ms));
    }

    /// Notes that none of the drafters on the target's lane takes a step before the next forward:
    /// what a step would bring if a change of shape were free is lost to keeping the shape.
    pub fn note_not_drafted(&mut self, situation: &Situation, options: &[DraftOption]) {
        self.held_back_ms = 0.0;
        let chooses = matches!(self.config.mode, Mode::Card | Mode::Auto);
        if !chooses || self.target.shape_change_ms() <= 0.0 {
            return;
        }
        let settled = |rows: u32| self.forward_ms(rows);
        let at_work = options.iter().filter(|o| o.outlook.rows < PREFILL_ROWS);
        let values = at_work.map(|option| {
            let first_ms = self.further_step_ms(option.outlook.source);
            let ahead = self.look_ahead_by(situation, option, first_ms, &settled);
            ahead.value
        });
        let tokens = values.fold(0.0, f64::max);
        self.held_back_ms = tokens / self.rate(situation.base).max(f64::MIN_POSITIVE);
    }

    /// Milliseconds of a drafter's next step, of `rows` rows: padding and a change of shape included.
    pub(super) fn next_step_ms(&self, source: Source, rows: u32) -> f64 {
        let cost = self.draft_cost(source);
        cost.next_ms(rows, Policy::most_padded(source))
    }

    /// Milliseconds of each step of one row that a drafter takes after that.
    pub(super) fn further_step_ms(&self, source: Source) -> f64 {
        let cost = self.draft_cost(source);
        cost.ms(cost.shape_for(1, Policy::most_padded(source)))
    }

    /// Rows up to which a drafter fills its steps up; a head's are never filled up.
    fn most_padded(source: Source) -> u32 {
        if source == Source::Head { 0 } else { u32::MAX }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::observe::Observation;
    use super::super::testing::{ONE, candidates, empty, outlook, policy, round};
    use super::*;
    use crate::protocol::Outlook;
    use crate::types::Rows;

    const TARGET: [(u32, f64); 3] = [(1, 8.4), (8, 11.2), (16, 14.4)];
    const DRAFT: [(u32, f64); 2] = [(1, 1.1), (8, 1.4)];

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    /// A policy that has seen what a change costs the target and its drafter: rows that repeat, and
    /// rows that change, the last ones `last`.
    fn seen(change: f64, last: [u32; 2]) -> Policy {
        let mut p = policy(Mode::Auto, &TARGET, &DRAFT);
        let (target, draft) = (p.target.clone(), p.drafts[0].clone());
        for _ in 0..12 {
            for step in 0..6 {
                // Three forwards of each shape.
                let extra = if step % 3 == 0 { change } else { 0.0 };
                let rows = if step < 3 { [1, 1] } else { last };
                let took = ms(target.ms(rows[0]) + extra);
                p.observe(round(rows[0], took, took, 1));
                p.observe(Observation::Draft {
                    source: Source::Draft,
                    rows: Rows::clamped(rows[1] as usize),
                    elapsed: ms(draft.ms(rows[1]) + extra),
                });
            }
        }
        p.exploration.since_plain_ms = 0.0;
        p
    }

    #[test]
    fn a_size_that_keeps_the_shape_is_better_than_one_that_changes_it() {
        // Two good candidates and a few that are not worth a row: 3 rows would be best.
        let reaches = [0.9, 0.8, 0.04, 0.03, 0.02, 0.01, 0.005];
        let found = seen(0.0, [8, 8]).verify_size(ONE, &candidates(&reaches));
        assert_eq!((found.size, found.shape), (2, 3));
        // They take the place of padding.
        let found = seen(2.5, [8, 8]).verify_size(ONE, &candidates(&reaches));
        assert_eq!((found.size, found.shape), (7, 8));
        let found = seen(2.5, [8, 8]).verify_size(ONE, &candidates(&reaches[..2]));
        assert_eq!((found.size, found.shape), (2, 8));
        // More than the target takes at a time is not asked for.
        let mut narrow = seen(2.5, [8, 8]).at_most(6);
        let found = narrow.verify_size(ONE, &candidates(&reaches[..5]));
        assert!((3..=6).contains(&found.shape), "{found:?}");
    }

    #[test]
    fn a_shape_that_loses_is_given_up_in_the_end() {
        let mut p = seen(2.5, [8, 8]);
        let reaches = [0.9, 0.8];
        let mut rounds = 0;
        while p.verify_size(ONE, &candidates(&reaches)).shape == 8 {
            let took = ms(p.target.ms(8));
            p.observe(round(8, took, took, 2));
            p.exploration.since_plain_ms = 0.0;
            rounds += 1;
            assert!(rounds < 200, "it never changes");
        }
        // About 2 ms a round that 8 rows take longer than 3 or 4, against 2.5 for a change.
        assert!(rounds >= 1, "it changes at once");
    }

    #[test]
    fn a_step_that_changes_the_shape_counts_the_change() {
        let p = seen(1.5, [8, 4]);
        // The drafter is in a shape of 4 rows.
        assert!((p.next_step_ms(Source::Draft, 2) - p.drafts[0].ms(4)).abs() < 1e-9);
        assert_eq!(p.further_step_ms(Source::Draft), p.drafts[0].ms(4));
        let more = p.next_step_ms(Source::Draft, 5) - p.drafts[0].ms(8);
        assert!((more - 1.5).abs() < 0.3, "{more}");
        // A step in the shape that there is pays.
        let outlook = outlook(1);
        let option = DraftOption {
            outlook: &outlook,
            covered: &[],
            top: 0.75,
        };
        assert!(p.draft_first(&empty(100), &[option]).source.is_some());
    }

    #[test]
    fn a_shape_that_is_too_small_is_given_up_in_the_end_too() {
        // One more candidate would pay for its row and for the step, but not for a change too.
        let mut p = seen(2.5, [2, 4]);
        let ready = candidates(&[0.95]);
        let situation = Situation {
            candidates: &ready,
            depth: 1,
            ..empty(100)
        };
        let outlook = Outlook {
            path: vec![7],
            reach: 0.95,
            ..outlook(1)
        };
        let option = DraftOption {
            outlook: &outlook,
            covered: &[],
            top: 0.45,
        };
        let before = p.target.next_ms(3, 32);
        assert!(p.draft_first(&situation, &[option]).source.is_none());
        p.note_not_drafted(&situation, &[option]);
        assert!(p.held_back_ms > 0.0);
        let found = p.verify_size(ONE, &ready);
        assert_eq!((found.size, found.shape), (1, 2));
        assert!(p.target.next_ms(3, 32) < before, "a change counts for less");
    }

    #[test]
    fn a_plain_round_counts_the_way_there_and_back() {
        assert!((seen(2.5, [8, 8]).changes_for_plain_ms(1) - 5.0).abs() < 1.0);
        assert_eq!(seen(0.0, [8, 8]).changes_for_plain_ms(1), 0.0);
        assert_eq!(seen(2.5, [1, 1]).changes_for_plain_ms(1), 0.0);
    }
}
