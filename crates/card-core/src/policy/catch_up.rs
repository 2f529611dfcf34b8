//! Whether a drafter that is behind the text earns back what catching up takes.

use super::promise::{LONGEST, expected_rate};
use super::situation::{DraftOption, Situation, expected_tokens};
use super::state::Policy;
use crate::protocol::{Lanes, Outlook};
use crate::types::Source;

/// Tokens that a sequence is expected to have left at most. What lies further ahead is not
/// counted on.
const OUTLOOK_TOKENS: f64 = 96.0;
/// Tokens that the model-free sources do not propose come in runs of at least about so many.
const RUN: f64 = 3.0;

impl Policy {
    /// Whether the drafter of `late` earns back what catching up takes, compared with what there
    /// is without it: plain decoding, the other drafters at work, and what this round's
    /// candidates promise. The rate reached so far is not compared with: this drafter may be
    /// what brought it about, in the sequences before.
    pub(super) fn catching_up_pays(
        &self,
        situation: &Situation,
        late: &DraftOption,
        at_work: &[&DraftOption],
    ) -> bool {
        let base = situation.base;
        let (n, _) = self.best_size(base, situation.candidates, 0);
        let tokens = f64::from(base.sequences) + expected_tokens(&situation.candidates[..n]);
        let now = tokens / self.forward_ms(base.rows + n as u32);
        let Outlook { source, rows, .. } = *late.outlook;
        let others = at_work.iter().filter(|o| o.outlook.source != source);
        let others = others.map(|o| self.promise_of(o));
        let plain = self.plain_rate(base.sequences);
        let without = others.fold(now.max(plain), f64::max);
        let with = self.promise_of(late).max(without);
        let left = lacking(situation, late);
        left / without - left / with > self.draft_cost(source).ms(rows)
    }

    /// Tokens per millisecond that this drafter alone can be expected to bring about.
    fn promise_of(&self, option: &DraftOption) -> f64 {
        let source = option.outlook.source;
        let draft = self.draft_cost(source);
        // The target's head is on the target's lane, wherever draft models are.
        let lanes = match source {
            Source::Head => Lanes::Shared,
            _ => self.config.lanes,
        };
        let target_ms = |rows| self.forward_ms(rows);
        let rates = (0..=LONGEST.min(self.longest)).map(|length| {
            let top = f64::from(option.top);
            expected_rate(lanes, self.rejection_cost(), top, length, target_ms, draft)
        });
        rates.fold(0.0, f64::max)
    }
}

/// Tokens left to write that the model-free sources are not expected to propose. Where they
/// propose nothing right now, a run of such tokens is under way, whatever their share.
fn lacking(situation: &Situation, late: &DraftOption) -> f64 {
    let left = f64::from(situation.tokens_left).min(OUTLOOK_TOKENS);
    let run = if late.covered.is_empty() {
        RUN.min(left)
    } else {
        0.0
    };
    run + (left - run) * (1.0 - situation.lookup_share)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::config::Mode;
    use super::super::draft_or_launch::EARLY;
    use super::super::testing::{drafts, empty, outlook, policy, round};
    use super::*;

    #[test]
    fn a_draft_model_prefills_only_if_enough_is_left() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let p = policy(Mode::Auto, curve, &[(1, 1.0), (500, 100.0)]);
        assert!(drafts(&p, &empty(100), &outlook(500), &[]));
        assert!(!drafts(&p, &empty(5), &outlook(500), &[]));
    }

    #[test]
    fn a_draft_model_does_not_read_for_what_is_proposed_without_it() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let p = policy(Mode::Auto, curve, &[(1, 1.0), (200, 200.0)]);
        assert!(drafts(&p, &empty(100), &outlook(200), &[]));
        let situation = Situation {
            lookup_share: 0.9,
            missing: EARLY,
            ..empty(100)
        };
        assert!(!drafts(&p, &situation, &outlook(200), &[0.2]));
        let situation = Situation {
            lookup_share: 0.95,
            ..situation
        };
        assert!(!drafts(&p, &situation, &outlook(200), &[]));
    }

    #[test]
    fn a_draft_model_does_not_read_for_the_first_words_before_a_copy() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let p = policy(Mode::Auto, curve, &[(1, 1.0), (200, 100.0)]);
        let looked_up = [0.2];
        let reads = |missing, covered: &[f32]| {
            let situation = Situation {
                missing,
                ..empty(100)
            };
            drafts(&p, &situation, &outlook(200), covered)
        };
        assert!(reads(1, &[]));
        assert!(!reads(1, &looked_up));
        assert!(reads(EARLY, &looked_up));
    }

    #[test]
    fn a_drafter_left_behind_by_a_copy_catches_up_where_that_ends() {
        let curve = &[(1, 10.0), (8, 12.0)];
        let p = policy(Mode::Auto, curve, &[(1, 1.0), (40, 15.0)]);
        let situation = Situation {
            lookup_share: 0.99,
            missing: EARLY,
            ..empty(60)
        };
        assert!(!drafts(&p, &situation, &outlook(40), &[0.2]));
        assert!(drafts(&p, &situation, &outlook(40), &[]));
    }

    #[test]
    fn a_drafter_is_not_measured_against_what_it_brought_about_before() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 12.0)], &[(1, 1.0), (50, 10.0)]);
        // With it, earlier sequences went as fast as it promises.
        for _ in 0..40 {
            let ms = Duration::from_millis;
            p.observe(round(8, ms(12), ms(20), 5));
        }
        assert!(drafts(&p, &empty(100), &outlook(50), &[]));
    }

    #[test]
    fn a_drafter_that_others_left_behind_catches_up() {
        let mut p = policy(Mode::Auto, &[(1, 10.0), (8, 12.0)], &[(1, 1.0), (12, 12.0)]);
        // A time in which lookup was right, and made time precious.
        for _ in 0..40 {
            let ms = Duration::from_millis(12);
            p.observe(round(8, ms, ms, 3));
        }
        assert!(drafts(&p, &empty(100), &outlook(12), &[]));
        // Not for the last few tokens.
        assert!(!drafts(&p, &empty(1), &outlook(12), &[]));
    }
}
