//! Whether a drafter takes a step on the shared lane before the target's next forward.

use super::config::Mode;
use super::lookahead::Lookahead;
use super::situation::{DraftOption, Situation};
use super::state::Policy;
use super::trace::DraftDecision;
use crate::protocol::{Lanes, Outlook};
use crate::types::Source;

/// A drafter with at least so many rows to decode has a prompt to read. That is paid back over
/// the whole sequence, not by the next step.
pub(super) const PREFILL_ROWS: u32 = 24;
/// Where the model-free sources propose something, so many tokens must have come that they did
/// not propose before a drafter reads the prompt: the first tokens of an answer that copies are
/// seldom there to be copied.
pub(super) const EARLY: u32 = 8;

impl Policy {
    /// Milliseconds of a drafter's next step on a lane that several sequences use. A prompt is
    /// read in pieces there ([`Lanes::reading_ms`]).
    pub(crate) fn step_ms(&self, outlook: &Outlook) -> f64 {
        let cost = self.draft_cost(outlook.source);
        cost.ms(outlook.rows).min(Lanes::reading_ms(cost.ms(1)))
    }

    /// Which drafter takes a step on the shared lane before the target launches its forward, if
    /// any.
    pub fn draft_first(&self, situation: &Situation, options: &[DraftOption]) -> DraftDecision {
        match self.config.mode {
            Mode::Plain => DraftDecision::default(),
            _ if self.remeasures(situation.base) => DraftDecision::default(),
            Mode::DraftThenVerify => {
                let short = situation.depth < self.config.draft_len;
                let first = options.first().filter(|_| short);
                DraftDecision {
                    source: first.map(|o| o.outlook.source),
                    ..DraftDecision::default()
                }
            }
            Mode::Card | Mode::Auto => self.draft_on(situation, options),
        }
    }

    /// The decision where draft steps are compared with launching: a step that pays, else a
    /// drafter that reads the prompt, else a trial.
    fn draft_on(&self, situation: &Situation, options: &[DraftOption]) -> DraftDecision {
        let (late, at_work): (Vec<&DraftOption>, Vec<&DraftOption>) =
            options.iter().partition(|o| o.outlook.rows >= PREFILL_ROWS);
        let best = self.best_step(situation, &at_work);
        let pays = best.filter(|(ahead, _)| ahead.value > 0.0);
        let source = pays
            .map(|(_, source)| source)
            .or_else(|| self.reader(situation, &late, &at_work))
            .or_else(|| self.trial(situation, &at_work));
        DraftDecision {
            source,
            foresight: best.map(|(ahead, _)| ahead.foresight),
            looked_ahead: true,
        }
    }

    /// The drafter whose further steps are worth most, and what they promise.
    fn best_step(
        &self,
        situation: &Situation,
        at_work: &[&DraftOption],
    ) -> Option<(Lookahead, Source)> {
        let mut best: Option<(Lookahead, Source)> = None;
        for &option in at_work {
            let Outlook { source, rows, .. } = *option.outlook;
            // A drafter that is used again has to catch up anyway, and later with more rows. So
            // catching up is no part of what this round's drafts cost.
            let rows = if rows > 1 && self.catching_up_pays(situation, option, at_work) {
                1
            } else {
                rows
            };
            let first_ms = self.next_step_ms(source, rows);
            let ahead = self.look_ahead(situation, option, first_ms);
            if best.is_none_or(|(b, _)| ahead.value > b.value) {
                best = Some((ahead, source));
            }
        }
        best
    }

    /// The first drafter that shall read the prompt. It must be better than those that already
    /// did; [`Mode::Card`] always has one that reads.
    fn reader(
        &self,
        situation: &Situation,
        late: &[&DraftOption],
        at_work: &[&DraftOption],
    ) -> Option<Source> {
        let needed = self.config.mode == Mode::Card && at_work.is_empty();
        let reads = late.iter().find(|o| {
            let early = !o.covered.is_empty() && situation.missing < EARLY;
            needed || !early && self.catching_up_pays(situation, o, at_work)
        });
        reads.map(|o| o.outlook.source)
    }

    /// The drafter of a step that does not look profitable, where there is no candidate at all:
    /// [`Mode::Card`] drafts one step all the same, [`Mode::Auto`] now and then, to notice when
    /// things change.
    fn trial(&self, situation: &Situation, at_work: &[&DraftOption]) -> Option<Source> {
        if !situation.candidates.is_empty() {
            return None;
        }
        let tried = at_work.iter().find(|o| {
            let Outlook { source, rows, .. } = *o.outlook;
            self.config.mode == Mode::Card || self.may_explore(situation, source, rows)
        });
        tried.map(|o| o.outlook.source)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Foresight;
    use super::super::testing::{TOP, candidates, drafts, empty, outlook, policy};
    use super::*;
    use crate::cost::CostCurve;

    #[test]
    fn sees_past_a_step_in_the_cost_curve() {
        // The second row doubles the cost, fourteen more are free.
        let mut p = policy(Mode::Auto, &[(1, 10.0), (2, 20.0), (16, 20.0)], &[(1, 0.5)]);
        let one = empty(100).base;
        assert_eq!(p.verify_size(one, &candidates(&[0.9])).size, 0);
        assert_eq!(p.verify_size(one, &candidates(&[0.9, 0.8, 0.7])).size, 3);
        assert!(drafts(&p, &empty(100), &outlook(1), &[]));
    }

    #[test]
    fn plain_decoding_wins_where_drafts_cost_too_much() {
        let p = policy(Mode::Auto, &[(1, 10.0), (8, 60.0)], &[(1, 8.0)]);
        assert!(!drafts(&p, &empty(100), &outlook(1), &[]));
        let p = policy(Mode::Card, &[(1, 10.0), (8, 60.0)], &[(1, 8.0)]);
        assert!(drafts(&p, &empty(100), &outlook(1), &[]));
    }

    #[test]
    fn a_draft_may_take_the_place_of_a_worse_candidate() {
        // Four candidates fit, a fifth costs a forward. Those that are ready are doubtful.
        let p = policy(Mode::Auto, &[(1, 10.0), (5, 10.1), (6, 20.0)], &[(1, 1.0)]);
        let known = [0.4, 0.2, 0.1, 0.05];
        let situation = Situation {
            candidates: &candidates(&known),
            depth: 4,
            ..empty(100)
        };
        assert!(drafts(&p, &situation, &outlook(1), &known));
    }

    #[test]
    fn does_not_draft_what_others_proposed_already() {
        let p = policy(Mode::Auto, &[(1, 10.0), (8, 12.0)], &[(1, 2.0)]);
        let known = [0.9, 0.88, 0.86, 0.85];
        let situation = Situation {
            candidates: &candidates(&known),
            depth: 4,
            ..empty(100)
        };
        let covered = [
            0.9, 0.88, 0.86, 0.85, 0.84, 0.83, 0.82, 0.8, 0.8, 0.8, 0.8, 0.8,
        ];
        assert!(!drafts(&p, &situation, &outlook(1), &covered));
        assert!(drafts(&p, &situation, &outlook(1), &[]));
    }

    #[test]
    fn of_two_drafters_the_one_that_brings_more_per_millisecond_steps() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (16, 12.0)], &[(1, 2.0)]);
        p.drafts[1] = CostCurve::from_points([(1, 0.5)]);
        let second = Outlook {
            source: Source::Draft2,
            ..outlook(1)
        };
        let first = outlook(1);
        let mut options = [&first, &second].map(|outlook| DraftOption {
            outlook,
            covered: &[],
            top: TOP,
        });
        let chosen = p.draft_first(&empty(100), &options).source;
        assert_eq!(chosen, Some(Source::Draft2));
        // If it is never right it does not.
        options[1].top = 0.01;
        let chosen = p.draft_first(&empty(100), &options).source;
        assert_eq!(chosen, Some(Source::Draft));
    }

    #[test]
    fn a_decision_tells_what_it_expects_of_further_steps() {
        let p = policy(Mode::Auto, &[(1, 10.0), (8, 10.0)], &[(1, 1.0)]);
        let option = DraftOption {
            outlook: &outlook(1),
            covered: &[],
            top: 1.0,
        };
        // Two tokens may be written, one of them is the target's own: one step is all.
        let decision = p.draft_first(&empty(2), &[option]);
        let expected = Foresight {
            steps: 1,
            tokens: 1.0,
            ms: 1.0,
        };
        assert_eq!(decision.foresight, Some(expected));
        assert!(p.draft_first(&empty(2), &[]).foresight.is_none());
    }
}
