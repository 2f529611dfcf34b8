//! The life cycle of a drafter: a state machine without I/O, clocks or threads.
//!
//! | in state | on | goes to |
//! |---|---|---|
//! | [`Working`](LifeState::Working), [`Starting`](LifeState::Starting) | [`Failed`](LifeEvent::Failed) | `Paused`, or `Stopped` if it cannot come back |
//! | [`Paused`](LifeState::Paused), the pause is over | [`Tick`](LifeEvent::Tick) with room | `Starting` |
//! | `Paused`, the pause is over | `Tick` without room | `Paused`, longer |
//! | `Starting` | [`Started`](LifeEvent::Started) | `Working` |
//! | `Starting` | [`Lost`](LifeEvent::Lost) | `Stopped` |
//!
//! Every other pair leaves the state as it is; nothing leads out of
//! [`Stopped`](LifeState::Stopped). The pause doubles with each failure, and begins anew once
//! the drafter's last start is long ago.

use std::time::Duration;

use card_core::backoff::Backoff;

/// Once a drafter's last start is longer ago than this, its earlier failures are forgotten.
const SOUND: Duration = Duration::from_secs(120);

/// What a drafter is at. Times are on the engine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeState {
    /// The drafter drafts.
    Working,
    /// The drafter failed, or was never reached yet; it is started at `until`.
    Paused {
        /// When the pause is over, on the engine's clock.
        until: Duration,
    },
    /// A thread starts the drafter.
    Starting,
    /// The drafter does not come back.
    Stopped,
}

/// What happens to a drafter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LifeEvent {
    /// Time has passed. `room` tells whether another drafter may be started now.
    Tick {
        /// Whether there is room.
        room: bool,
    },
    /// The thread that starts the drafter has done so.
    Started,
    /// The drafter cannot work, or could not be started.
    Failed,
    /// The thread that was to start the drafter is gone, and with it the means to try again.
    Lost,
}

/// The life of one drafter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifecycle {
    state: LifeState,
    /// Whether the drafter can be started again after a failure.
    returns: bool,
    /// The pauses after its failures.
    pause: Backoff,
    /// When the drafter last began to work, or was added.
    /// Failed starts do not change it.
    since: Duration,
}

impl Lifecycle {
    /// A drafter that works from now on.
    pub(crate) fn working(returns: bool, pause: Backoff, now: Duration) -> Self {
        Lifecycle {
            state: LifeState::Working,
            returns,
            pause,
            since: now,
        }
    }

    /// A drafter that is to be started as soon as possible, and again after each failure.
    pub(crate) fn to_be_started(pause: Backoff, now: Duration) -> Self {
        Lifecycle {
            state: LifeState::Paused { until: now },
            returns: true,
            pause,
            since: now,
        }
    }

    /// What it is at.
    pub(crate) fn state(&self) -> LifeState {
        self.state
    }

    /// Whether it works.
    pub(crate) fn is_working(&self) -> bool {
        self.state == LifeState::Working
    }

    /// Whether it left for good, and nothing can start it again.
    pub(crate) fn has_left(&self) -> bool {
        self.state == LifeState::Stopped && !self.returns
    }

    /// The transition: its life after `event`, `now` on the engine's clock.
    #[must_use]
    pub(crate) fn after(self, event: LifeEvent, now: Duration) -> Lifecycle {
        match (self.state, event) {
            (LifeState::Working | LifeState::Starting, LifeEvent::Failed) => self.failed(now),
            (LifeState::Paused { until }, LifeEvent::Tick { room }) if now >= until => {
                if room {
                    self.to(LifeState::Starting)
                } else {
                    self.paused(now)
                }
            }
            (LifeState::Starting, LifeEvent::Started) => Lifecycle {
                since: now,
                ..self.to(LifeState::Working)
            },
            (LifeState::Starting, LifeEvent::Lost) => Lifecycle {
                returns: false,
                ..self.to(LifeState::Stopped)
            },
            _ => self,
        }
    }

    fn failed(mut self, now: Duration) -> Self {
        if now.saturating_sub(self.since) > SOUND {
            self.pause.reset();
        }
        if self.returns {
            self.paused(now)
        } else {
            self.to(LifeState::Stopped)
        }
    }

    fn paused(mut self, now: Duration) -> Self {
        let until = now.saturating_add(self.pause.fail());
        self.to(LifeState::Paused { until })
    }

    fn to(self, state: LifeState) -> Self {
        Lifecycle { state, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;
    const ROOM: LifeEvent = LifeEvent::Tick { room: true };

    fn pause() -> Backoff {
        Backoff::new(AT(1), AT(60))
    }

    fn until(seconds: u64) -> LifeState {
        LifeState::Paused { until: AT(seconds) }
    }

    #[test]
    fn one_that_fails_pauses_starts_and_works_again() {
        let life = Lifecycle::working(true, pause(), AT(0));
        let life = life.after(LifeEvent::Failed, AT(10));
        assert_eq!(life.state(), until(11));
        let life = life.after(ROOM, AT(10));
        assert_eq!(
            life.state(),
            until(11),
            "it starts before the pause is over"
        );
        let life = life.after(ROOM, AT(11));
        assert_eq!(life.state(), LifeState::Starting);
        let life = life.after(LifeEvent::Started, AT(12));
        assert!(life.is_working());
    }

    #[test]
    fn the_pause_doubles_until_it_has_worked_for_long() {
        let mut life = Lifecycle::working(true, pause(), AT(0));
        for (failed, back) in [(10, 11), (11, 13), (13, 17)] {
            life = life.after(LifeEvent::Failed, AT(failed));
            assert_eq!(life.state(), until(back));
            life = life.after(ROOM, AT(back));
        }
        life = life.after(LifeEvent::Started, AT(17));
        let soon = life.after(LifeEvent::Failed, AT(18));
        assert_eq!(soon.state(), until(18 + 8));
        let sound = life.after(LifeEvent::Failed, AT(17) + SOUND + AT(1));
        assert_eq!(sound.state(), until(17 + 120 + 1 + 1));
    }

    #[test]
    fn one_that_cannot_come_back_stops_and_stays_so() {
        let life = Lifecycle::working(false, pause(), AT(0));
        let life = life.after(LifeEvent::Failed, AT(10));
        assert!(life.has_left());
        for event in [ROOM, LifeEvent::Started, LifeEvent::Failed, LifeEvent::Lost] {
            assert_eq!(life.after(event, AT(1000)).state(), LifeState::Stopped);
        }
    }

    #[test]
    fn one_that_finds_no_room_tries_again_later() {
        let life = Lifecycle::to_be_started(pause(), AT(5));
        let life = life.after(LifeEvent::Tick { room: false }, AT(5));
        assert_eq!(life.state(), until(6));
        let life = life.after(LifeEvent::Tick { room: false }, AT(6));
        assert_eq!(life.state(), until(8));
        assert_eq!(life.after(ROOM, AT(8)).state(), LifeState::Starting);
    }

    #[test]
    fn one_that_could_not_be_started_pauses_again_and_one_whose_thread_is_lost_stops() {
        let life = Lifecycle::to_be_started(pause(), AT(0)).after(ROOM, AT(0));
        assert_eq!(life.state(), LifeState::Starting);
        assert_eq!(life.after(ROOM, AT(100)).state(), LifeState::Starting);
        let again = life.after(LifeEvent::Failed, AT(2));
        assert_eq!(again.state(), until(3));
        assert!(life.after(LifeEvent::Lost, AT(2)).has_left());
    }

    #[test]
    fn what_does_not_concern_a_state_leaves_it_as_it_is() {
        let working = Lifecycle::working(true, pause(), AT(0));
        for event in [ROOM, LifeEvent::Started, LifeEvent::Lost] {
            assert_eq!(working.after(event, AT(9)).state(), LifeState::Working);
        }
        let paused = working.after(LifeEvent::Failed, AT(9));
        for event in [LifeEvent::Failed, LifeEvent::Started, LifeEvent::Lost] {
            assert_eq!(paused.after(event, AT(9)).state(), until(10));
        }
    }
}
