//! Whether the target waits for a drafter on a lane of its own.

use std::time::Duration;

use super::config::Mode;
use super::situation::{Base, DraftOption, Situation};
use super::state::Policy;
use super::trace::WaitDecision;
use crate::types::Source;

impl Policy {
    /// The longest time that the target ever waits for a drafter, whatever the drafter says of
    /// its own speed.
    pub const PATIENCE: Duration = Duration::from_secs(5);

    /// Whether the target shall wait for drafts that come from another lane.
    ///
    /// The target is idle while it waits, and the drafter goes on drafting either way. So what
    /// waiting adds is what the next step puts below the best node that no drafter has expanded
    /// yet: `option` is that step. `answer` is the number of milliseconds after which the
    /// drafter's answer to the last commit is due, if that is what is waited for and known.
    ///
    /// The target does not wait where the chain of best candidates is long enough already.
    pub fn wait_first(
        &self,
        situation: &Situation,
        option: &DraftOption,
        answer: Option<f64>,
    ) -> WaitDecision {
        let speculates = matches!(self.config.mode, Mode::Card | Mode::Auto);
        let cost = self.draft_cost(option.outlook.source);
        if !speculates || cost.is_empty() || self.remeasures(situation.base) {
            return WaitDecision::default();
        }
        if situation.depth >= self.deep_enough(situation.base, option.outlook.source) {
            return WaitDecision::default();
        }
        let first_ms = answer.unwrap_or_else(|| self.further_step_ms(option.outlook.source));
        let ahead = self.look_ahead(situation, option, first_ms);
        WaitDecision {
            wait: ahead.value > 0.0,
            foresight: Some(ahead.foresight),
        }
    }

    /// Length of the chain of best candidates at which the target waits for no further one: a third
    /// of the draft steps that a forward of the target takes, and at least two.
    ///
    /// A draft step that the target does not wait for is not lost. The drafter takes it while the
    /// target verifies, and the next forward verifies what it brought. So behind a first few
    /// candidates waiting only delays what is there. Without this bound λ is no guard: a target that
    /// waits becomes slower, so that λ falls, so that waiting looks cheaper.
    fn deep_enough(&self, base: Base, source: Source) -> u32 {
        let step_ms = self.draft_cost(source).ms(1);
        let steps = self.forward_ms(base.rows) / step_ms;
        // A cast of what is too large, or no number, gives the nearest number of tokens.
        ((steps / 3.0) as u32).max(2)
    }

    /// The longest time that the target shall wait for the drafter in [`Mode::DraftThenVerify`]
    /// on lanes of their own before it goes on with what there is: eight times what the chain
    /// should take, at least a second and at most [`Policy::PATIENCE`].
    pub fn patience(&self) -> Duration {
        let steps = f64::from(self.config.draft_len) + 2.0;
        let cost = self.draft_cost(Source::Draft);
        let most_ms = Policy::PATIENCE.as_secs_f64() * 1e3;
        let ms = if cost.is_empty() {
            most_ms
        } else {
            (8.0 * steps * cost.ms(1)).clamp(1000.0, most_ms)
        };
        Duration::from_secs_f64(ms / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Observation;
    use super::super::testing::{TOP, candidates, empty, outlook, policy, round};
    use super::*;
    use crate::protocol::Outlook;
    use crate::types::Rows;

    #[test]
    fn whatever_a_drafter_says_of_its_time_waiting_is_bounded() {
        let mut p = policy(Mode::DraftThenVerify, &[(1, 10.0)], &[]);
        assert!(p.patience() <= Policy::PATIENCE);
        for rows in [1, 2, Rows::MOST] {
            for elapsed in [Duration::MAX, Duration::ZERO] {
                p.observe(Observation::Draft {
                    source: Source::Draft,
                    rows: Rows::new(rows).unwrap(),
                    elapsed,
                });
                assert!(p.patience() <= Policy::PATIENCE);
                assert!(p.patience() >= Duration::from_secs(1));
            }
        }
    }

    #[test]
    fn waits_for_a_first_candidate_but_not_for_the_last_bit() {
        // A target forward takes seven draft steps, whatever it verifies.
        let mut p = policy(Mode::Card, &[(1, 70.0), (64, 70.0)], &[(1, 10.0)]);
        for _ in 0..30 {
            let ms = Duration::from_millis(70);
            p.observe(round(8, ms, ms, 5));
        }
        let waits = |situation: &Situation, reach| {
            let outlook = Outlook {
                reach,
                ..outlook(1)
            };
            let option = DraftOption {
                outlook: &outlook,
                covered: &[],
                top: TOP,
            };
            p.wait_first(situation, &option, None).wait
        };
        assert!(waits(&empty(100), 1.0));
        let deep = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35];
        let situation = Situation {
            candidates: &candidates(&deep),
            depth: 7,
            ..empty(100)
        };
        assert!(!waits(&situation, 0.3));
    }

    #[test]
    fn what_is_drafted_while_the_target_verifies_is_not_waited_for() {
        // Rounds were slow, so time is cheap, and the next candidate is nearly sure.
        let waits = |draft_ms: f64, depth: u32| {
            let mut p = policy(Mode::Card, &[(1, 70.0), (64, 70.0)], &[(1, draft_ms)]);
            for _ in 0..30 {
                p.observe(round(
                    8,
                    Duration::from_millis(70),
                    Duration::from_millis(140),
                    5,
                ));
            }
            let sure = vec![0.95; depth as usize];
            let outlook = Outlook {
                reach: 0.95,
                ..outlook(1)
            };
            let option = DraftOption {
                outlook: &outlook,
                covered: &[],
                top: 0.95,
            };
            let situation = Situation {
                candidates: &candidates(&sure),
                depth,
                ..empty(100)
            };
            p.wait_first(&situation, &option, None).wait
        };
        // A forward takes seven draft steps: two candidates are deep enough.
        assert!(waits(10.0, 0) && waits(10.0, 1));
        assert!(!waits(10.0, 2) && !waits(10.0, 5));
        // It takes thirty-five: a step is little against it.
        assert!(waits(2.0, 5) && !waits(2.0, 12));
        // It takes two.
        assert!(!waits(35.0, 2));
    }
}
