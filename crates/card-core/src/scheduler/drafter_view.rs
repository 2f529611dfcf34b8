//! What the drafters know of a sequence, as far as the scheduler has heard.

use std::time::Duration;

/// How far the drafters have come with one sequence.
///
/// ```text
///            a drafter speaks                 tokens are committed
///  Unread ─────────────────────────▶ Heard ─────────────────────────▶ Awaited
///                                      ◀───────────────────────────────
///                                       a drafter speaks of what follows them
/// ```
///
/// While the prompt is unread, commits change nothing: how long reading it takes says nothing
/// of later answers. For the same reason the commit that ends the prompt awaits no answer.
#[derive(Debug)]
pub(super) struct DrafterView {
    state: ViewState,
    /// When the last tokens were committed.
    committed: Duration,
    /// At the last launch an answer was due, and the target did not wait for it.
    rushed: bool,
    /// The target waited in vain for a word on this sequence; no drafter has said one since.
    silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ViewState {
    /// No drafter has said anything of the sequence.
    Unread,
    /// A drafter has said what may follow the last committed token, or nobody asked yet.
    Heard,
    /// No drafter has heard of the last committed tokens and said what may follow.
    Awaited,
}

/// A drafter's first word on what follows the last committed token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct DrafterAnswer {
    /// Time since those tokens were committed.
    pub(super) after: Duration,
    /// The target did not wait for it. On a device that both use, a forward of the target's in
    /// between may have held the drafter up.
    pub(super) rushed: bool,
}

impl DrafterView {
    /// The view of a sequence that begins.
    pub(super) fn new(now: Duration) -> Self {
        DrafterView {
            state: ViewState::Unread,
            committed: now,
            rushed: false,
            silent: false,
        }
    }

    /// Whether the target waited in vain for a word on this sequence, and none came since.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The target waited in vain for a word on this sequence.
    pub(super) fn waited_in_vain(&mut self) {
        self.silent = true;
    }

    /// Whether a drafter has read the prompt.
    pub(super) fn has_read(&self) -> bool {
        self.state != ViewState::Unread
    }

    /// Whether a drafter has said what may follow the last committed token, or nobody asked yet.
    pub(super) fn has_answered(&self) -> bool {
        self.state == ViewState::Heard
    }

    /// When the last tokens were committed.
    pub(super) fn committed(&self) -> Duration {
        self.committed
    }

    /// Tokens were committed; `prefill` if they are the first after the prompt.
    pub(super) fn commit(&mut self, now: Duration, prefill: bool) {
        self.committed = now;
        self.state = match self.state {
            ViewState::Unread => ViewState::Unread,
            _ if prefill => ViewState::Heard,
            _ => ViewState::Awaited,
        };
    }

    /// The target launches a forward; `silent` if it has waited for the drafters in vain.
    pub(super) fn launch(&mut self, silent: bool) {
        self.rushed = self.state == ViewState::Awaited && !silent && !self.silent;
    }

    /// A drafter speaks of the sequence; `latest` if it knows of the last committed token.
    /// Returns the answer that was awaited, if this is it.
    pub(super) fn hear(&mut self, latest: bool, now: Duration) -> Option<DrafterAnswer> {
        self.silent = false;
        if self.state == ViewState::Unread {
            self.state = ViewState::Heard;
        }
        if self.state != ViewState::Awaited || !latest {
            return None;
        }
        self.state = ViewState::Heard;
        Some(DrafterAnswer {
            after: now.saturating_sub(self.committed),
            rushed: self.rushed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_first_word_after_a_commit_is_the_answer() {
        let mut view = DrafterView::new(MS(0));
        view.commit(MS(10), true);
        assert_eq!(view.hear(true, MS(900)), None, "it read the prompt first");
        view.commit(MS(1000), false);
        assert_eq!(view.hear(false, MS(1001)), None, "it did not know yet");
        let answer = view.hear(true, MS(1005));
        let expected = DrafterAnswer {
            after: MS(5),
            rushed: false,
        };
        assert_eq!(answer, Some(expected));
        assert_eq!(view.hear(true, MS(1006)), None, "the second word");
    }

    #[test]
    fn an_answer_that_was_not_waited_for_says_so() {
        let mut view = DrafterView::new(MS(0));
        view.hear(true, MS(1));
        for (silent, rushed) in [(false, true), (true, false)] {
            view.commit(MS(10), false);
            view.launch(silent);
            let answer = view.hear(true, MS(20)).unwrap();
            assert_eq!(answer.rushed, rushed);
        }
    }

    #[test]
    fn a_sequence_is_silent_until_a_drafter_speaks_of_it() {
        let mut view = DrafterView::new(MS(0));
        view.hear(true, MS(1));
        view.commit(MS(10), false);
        view.waited_in_vain();
        assert!(view.is_silent());
        view.launch(false);
        let answer = view.hear(true, MS(20)).unwrap();
        assert!(!answer.rushed && !view.is_silent());
    }

    #[test]
    fn commits_before_the_prompt_is_read_await_nothing() {
        let mut view = DrafterView::new(MS(0));
        view.commit(MS(10), true);
        view.commit(MS(20), false);
        view.launch(false);
        assert!(!view.has_read());
        assert_eq!(view.hear(true, MS(30)), None);
        assert!(view.has_read());
    }
}
