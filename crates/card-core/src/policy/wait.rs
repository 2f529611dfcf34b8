//! Whether the target waits for a drafter on a lane of its own.

use std::time::Duration;

use super::config::Mode;
use super::situation::{DraftOption, Situation};
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
        let first_ms = answer.unwrap_or_else(|| self.further_step_ms(option.outlook.source));
        let ahead = self.look_ahead(situation, option, first_ms);
        WaitDecision {
            wait: ahead.value > 0.0,
            foresight: Some(ahead.foresight),
        }
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
}
