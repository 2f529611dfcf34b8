//! How much time may be spent on trying what does not look best.
//!
//! Trials are paid for from a bucket: a share of the time flows in, what they lose is taken out, and
//! it holds two plain forwards' time. So in any stretch of time trials lose no more than that share of
//! it and what the bucket held, however well earlier text went.

use super::config::LOOKAHEAD;

/// The share of the time that may go to draft steps that do not look profitable, to find out
/// whether speculation pays by now. Trials of gated drafters earn the same share of tokens.
pub(super) const EXPLORE: f64 = 0.02;
/// The share of the time that plain rounds in [`Mode::Auto`](super::Mode::Auto) may lose. Every
/// decision is made against the cost of plain decoding, and a schedule that always speculates
/// would not notice when that cost changes. Where speculation is far ahead a plain round loses
/// much, so it comes seldom.
const REMEASURE: f64 = 0.005;
/// A plain round counts as losing at least this share of its own time, so that plain rounds do
/// not come too often where they lose nearly nothing.
const LEAST_LOSS: f64 = 0.1;

/// Plain forwards' time that is saved up for trials at the most.
const MOST_SAVED: f64 = 2.0;
/// Plain forwards' time that is enough for any trial. One that costs more is paid off before the
/// next, or it could never be.
const ENOUGH: f64 = 1.5;
/// Plain forwards' time that trials owe at the most. None costs more: a step is tried only if so many
/// tokens that are right would pay for it. What a round loses beyond that is no trial's doing, as
/// where the machine paused.
const MOST_OWED: f64 = LOOKAHEAD as f64;

/// The account of exploration, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExplorationBudget {
    /// What trials may lose; negative while they owe.
    saved_ms: f64,
    /// Time since the last round without candidates; infinite before the first one.
    pub(super) since_plain_ms: f64,
    /// Whether a drafter took a step on the target's lane since the last round.
    pub(super) drafted: bool,
}

/// What a round took, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTime {
    /// The round, drafting and waiting included.
    pub(super) ms: f64,
    /// Plain decoding of as many tokens.
    pub(super) plain_ms: f64,
    /// One forward of plain decoding.
    pub(super) forward_ms: f64,
}

impl ExplorationBudget {
    /// Nothing is saved, and plain decoding was never measured.
    pub(super) fn new() -> Self {
        ExplorationBudget {
            saved_ms: 0.0,
            since_plain_ms: f64::INFINITY,
            drafted: false,
        }
    }

    /// Whether a plain round is due that takes `plain_ms` and loses `loss_ms` against what the
    /// sequences would have got in that time.
    pub(super) fn plain_round_is_due(&self, plain_ms: f64, loss_ms: f64) -> bool {
        REMEASURE * self.since_plain_ms >= loss_ms.max(LEAST_LOSS * plain_ms)
    }

    /// Whether a trial that costs `ms` is within the budget, where a plain forward takes
    /// `forward_ms`.
    pub(super) fn affords(&self, ms: f64, forward_ms: f64) -> bool {
        self.saved_ms >= ms.min(ENOUGH * forward_ms)
    }

    /// Notes a round. `speculated` says whether candidates joined it. What the round lost counts as
    /// exploration if the policy could have chosen plain decoding (`could_be_plain`); half of what
    /// a round wins is added. A round in which nothing was drafted and nothing verified neither
    /// lost nor won: what it took beyond a forward is the engine's own work, and noise.
    pub(super) fn note_round(&mut self, time: RoundTime, speculated: bool, could_be_plain: bool) {
        let RoundTime {
            ms,
            plain_ms,
            forward_ms,
        } = time;
        self.since_plain_ms = if speculated {
            self.since_plain_ms + ms
        } else {
            0.0
        };
        let tried = std::mem::take(&mut self.drafted) || speculated;
        let lost_ms = if could_be_plain { ms - plain_ms } else { 0.0 };
        let change_ms = if !tried {
            0.0
        } else if lost_ms > 0.0 {
            -lost_ms
        } else {
            0.5 * (plain_ms - ms).max(0.0)
        };
        let saved_ms = self.saved_ms + EXPLORE * ms + change_ms;
        self.saved_ms = saved_ms
            .min(MOST_SAVED * forward_ms)
            .max(-MOST_OWED * forward_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORWARD_MS: f64 = 10.0;

    /// A round that takes `ms` where plain decoding takes `plain_ms`.
    fn note(budget: &mut ExplorationBudget, ms: f64, plain_ms: f64) {
        let time = RoundTime {
            ms,
            plain_ms,
            forward_ms: FORWARD_MS,
        };
        budget.note_round(time, true, true);
    }

    /// Tries what costs `trial_ms` and brings nothing whenever that is affordable, for `ms`
    /// milliseconds. Returns how often, and what it lost.
    fn try_in_vain(budget: &mut ExplorationBudget, trial_ms: f64, ms: f64) -> (u32, f64) {
        let (mut trials, mut went_by) = (0, 0.0);
        while went_by < ms {
            let tried = budget.affords(trial_ms, FORWARD_MS);
            let round_ms = FORWARD_MS + if tried { trial_ms } else { 0.0 };
            note(budget, round_ms, FORWARD_MS);
            trials += u32::from(tried);
            went_by += round_ms;
        }
        (trials, f64::from(trials) * trial_ms)
    }

    #[test]
    fn after_an_hour_of_good_text_a_minute_of_trials_loses_no_more_than_any_other() {
        const MINUTE_MS: f64 = 60_000.0;
        let mut budget = ExplorationBudget::new();
        for _ in 0..300_000 {
            note(&mut budget, 12.0, 3.0 * FORWARD_MS);
        }
        let (_, lost_ms) = try_in_vain(&mut budget, 5.0, MINUTE_MS);
        let most = EXPLORE * MINUTE_MS + MOST_SAVED * FORWARD_MS + 5.0;
        assert!(lost_ms <= most, "{lost_ms}");
        assert!(lost_ms >= 0.9 * EXPLORE * MINUTE_MS, "{lost_ms}");
    }

    #[test]
    fn a_trial_that_costs_more_than_is_ever_saved_is_made_and_paid_off() {
        const TIME_MS: f64 = 600_000.0;
        let dear_ms = 8.0 * FORWARD_MS;
        let mut budget = ExplorationBudget::new();
        assert!(!budget.affords(dear_ms, FORWARD_MS));
        let (trials, lost_ms) = try_in_vain(&mut budget, dear_ms, TIME_MS);
        assert!(trials > 100, "{trials}");
        assert!(lost_ms <= EXPLORE * TIME_MS + dear_ms, "{lost_ms}");
    }

    #[test]
    fn what_every_plain_round_takes_beyond_its_forward_is_no_trial() {
        let mut budget = ExplorationBudget::new();
        let time = RoundTime {
            ms: 1.05 * FORWARD_MS,
            plain_ms: FORWARD_MS,
            forward_ms: FORWARD_MS,
        };
        for _ in 0..200 {
            budget.note_round(time, false, true);
        }
        assert!(budget.affords(5.0, FORWARD_MS));
        // A step in vain is one, though nothing of it was verified.
        let before = budget.saved_ms;
        budget.drafted = true;
        budget.note_round(time, false, true);
        assert!(budget.saved_ms < before);
    }

    #[test]
    fn a_machine_that_paused_does_not_end_trials_for_long() {
        let mut budget = ExplorationBudget::new();
        note(&mut budget, 60_000.0, FORWARD_MS);
        let mut rounds = 0;
        while !budget.affords(5.0, FORWARD_MS) {
            note(&mut budget, FORWARD_MS, FORWARD_MS);
            rounds += 1;
            assert!(rounds < 700, "nothing is tried any more");
        }
        assert!(rounds > 100, "{rounds}");
    }
}
