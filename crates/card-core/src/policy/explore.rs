//! When to try what does not look best, since it may have become the best.
//!
//! Two things are tried: plain rounds, since every decision is made against the cost of plain
//! decoding, and draft steps that do not look profitable. Both are bounded by a share of the
//! time ([`ExplorationBudget`](super::budget::ExplorationBudget)).

use super::config::LOOKAHEAD;
use super::config::Mode;
use super::situation::{Base, Situation};
use super::state::Policy;
use crate::types::Source;

impl Policy {
    /// Whether the next round is a plain one, to measure plain decoding. Only
    /// [`Mode::Auto`] has such rounds.
    pub(super) fn remeasures(&self, base: Base) -> bool {
        let plain_ms = self.forward_ms(base.sequences);
        let rate = self.plain_rate(base.sequences).max(self.rates.overall());
        let changes_ms = self.changes_for_plain_ms(base.sequences);
        let loss_ms = plain_ms - f64::from(base.sequences) / rate + changes_ms;
        self.config.mode == Mode::Auto && self.exploration.plain_round_is_due(plain_ms, loss_ms)
    }

    /// Whether a draft step that does not look profitable may be tried all the same: it would
    /// pay for a drafter that is always right, as far as there are tokens left to write, and the
    /// budget affords the step.
    pub(super) fn may_explore(&self, situation: &Situation, source: Source, rows: u32) -> bool {
        let base = situation.base;
        let (first_ms, step_ms) = (
            self.next_step_ms(source, rows),
            self.further_step_ms(source),
        );
        let base_ms = self.forward_ms(base.rows);
        let taken_back_ms = self.rejection_cost().take_back_ms;
        let longer_ms = self.forward_ms(base.rows + 1) - base_ms;
        let cost_ms = first_ms + longer_ms + taken_back_ms;
        // The last token comes with the forward that verifies the others.
        let wanted = situation.tokens_left.saturating_sub(1);
        let could_pay = (1..=LOOKAHEAD.min(self.longest).min(wanted)).any(|steps| {
            let ms = first_ms + step_ms * f64::from(steps - 1) + self.forward_ms(base.rows + steps)
                - base_ms;
            f64::from(steps) > self.rate(base) * ms
        });
        let plain_ms = self.plain_forward_ms(base.sequences);
        could_pay && self.exploration.affords(cost_ms, plain_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{ONE, candidates, policy, round};
    use super::*;

    #[test]
    fn plain_decoding_is_measured_now_and_then() {
        // Rounds of 10 ms with so many tokens, until one is a plain one.
        let rounds = |tokens: u32| {
            let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 10.1)], &[(1, 1.0)]);
            let ms = Duration::from_millis(10);
            let mut rounds = 0;
            while p.verify_size(ONE, &candidates(&[0.9])).size == 1 {
                p.observe(round(2, ms, ms, tokens));
                rounds += 1;
            }
            p.observe(round(1, ms, ms, 1));
            let next = p.verify_size(ONE, &candidates(&[0.9])).size;
            assert_eq!(next, 1, "and then it goes on");
            rounds
        };
        // Of five tokens, a plain round loses 8 ms, which is half a per cent of 1600.
        assert_eq!(rounds(5), 160);
        assert_eq!(rounds(2), 100);
        assert_eq!(rounds(1), 20);
    }
}
