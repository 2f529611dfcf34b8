//! Waiting for drafters on lanes of their own: until when, and how long their answers take.

use std::time::Duration;

use super::drafter_view::DrafterAnswer;

/// Milliseconds after which the answer to a commit counts as no later.
const MOST_LAG: f64 = 10_000.0;
/// Weight of a new answer in the mean.
const GAIN: f64 = 0.2;

/// Whether the target waits for drafters, and what it has learned of their answers.
#[derive(Debug, Default)]
pub(super) struct DrafterWait {
    /// There is no drafter.
    lost: bool,
    /// The drafters were waited for in vain; the target waits again once it hears of one. This
    /// holds for sequences that begin meanwhile too.
    silent: bool,
    /// When the wait that goes on began.
    since: Option<Duration>,
    /// Milliseconds from a commit to the first draft that knows of it.
    lag: Option<f64>,
}

impl DrafterWait {
    /// Says whether there is no drafter.
    pub(super) fn set_lost(&mut self, lost: bool) {
        self.lost = lost;
    }

    /// Whether there is no drafter.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the drafters were waited for in vain and have said nothing since.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// A drafter said something that makes sense.
    pub(super) fn hear(&mut self) {
        self.silent = false;
    }

    /// The wait is over.
    pub(super) fn end(&mut self) {
        self.since = None;
    }

    /// Waits, but no longer than `most` since the wait began: until when, or `None` if that
    /// time is over.
    pub(super) fn until(&mut self, now: Duration, most: Duration) -> Option<Duration> {
        let until = *self.since.get_or_insert(now) + most;
        self.silent = now >= until;
        (now < until).then_some(until)
    }

    /// Learns how long an answer took.
    pub(super) fn observe(&mut self, answer: DrafterAnswer) {
        let ms = (answer.after.as_secs_f64() * 1e3).min(MOST_LAG);
        // The target's forward may have held up an answer that was not waited for, so all it
        // says is that the answer would not have taken longer without.
        if answer.rushed && self.lag.is_none_or(|lag| ms > lag) {
            return;
        }
        let before = self.lag.unwrap_or(ms);
        // One that was late says little of the next.
        let ms = ms.min(2.0 * before);
        self.lag = Some(before + GAIN * (ms - before));
    }

    /// Milliseconds after which the answer to a commit at `since` is due, if that is known.
    pub(super) fn answer_due(&self, since: Duration, now: Duration) -> Option<f64> {
        let lag = self.lag?;
        Some((lag - now.saturating_sub(since).as_secs_f64() * 1e3).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ms: u64, rushed: bool) -> DrafterAnswer {
        DrafterAnswer {
            after: Duration::from_millis(ms),
            rushed,
        }
    }

    fn lag(answers: &[DrafterAnswer]) -> Option<f64> {
        let mut wait = DrafterWait::default();
        for answer in answers {
            wait.observe(*answer);
        }
        wait.answer_due(Duration::ZERO, Duration::ZERO)
    }

    #[test]
    fn one_late_answer_moves_the_mean_little() {
        assert_eq!(lag(&[answer(10, false)]), Some(10.0));
        assert_eq!(lag(&[answer(10, false), answer(9000, false)]), Some(12.0));
    }

    #[test]
    fn an_answer_that_was_held_up_only_shortens_the_mean() {
        assert_eq!(lag(&[answer(10, true)]), None);
        let first = answer(10, false);
        assert_eq!(lag(&[first, answer(50, true)]), Some(10.0));
        assert_eq!(lag(&[first, answer(5, true)]), Some(9.0));
    }

    #[test]
    fn a_wait_ends_and_is_not_begun_again_before_a_drafter_speaks() {
        let ms = Duration::from_millis;
        let mut wait = DrafterWait::default();
        assert_eq!(wait.until(ms(10), ms(5)), Some(ms(15)));
        assert_eq!(wait.until(ms(14), ms(5)), Some(ms(15)));
        assert_eq!(wait.until(ms(15), ms(5)), None);
        assert!(wait.is_silent());
        wait.hear();
        assert!(!wait.is_silent());
    }
}
