//! A thread's heartbeat: what the thread does right now, for those who watch it from outside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The heartbeat of a lane's thread. The thread writes it, and others read it without a lock.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When the thread began the step it is in, in milliseconds since the engine started; 0
    /// while it is in none.
    began: AtomicU64,
    /// Whether the thread shall take no step until it hears something: the drafters' gate is
    /// shut.
    gated: AtomicBool,
    /// Since when the thread has nothing to do at all, in milliseconds since the engine started; 0
    /// while it has.
    paused: AtomicU64,
}

impl Pulse {
    /// A step begins, `now` after the engine started.
    pub(crate) fn begin(&self, now: Duration) {
        self.began
            .store((now.as_millis() as u64).max(1), Ordering::Relaxed);
    }

    /// The step is done, and the thread may wait.
    pub(crate) fn end(&self) {
        self.began.store(0, Ordering::Relaxed);
    }

    /// Shuts or opens the gate: says whether the thread shall take no step until it hears
    /// something.
    pub(crate) fn gate(&self, gated: bool) {
        self.gated.store(gated, Ordering::Relaxed);
    }

    /// Whether the thread shall take no step until it hears something.
    pub(crate) fn is_gated(&self) -> bool {
        self.gated.load(Ordering::Relaxed)
    }

    /// From now on, `now` after the engine started, the thread has nothing to do.
    pub(crate) fn pause(&self, now: Duration) {
        self.paused
            .store((now.as_millis() as u64).max(1), Ordering::Relaxed);
    }

    /// The thread has something to do.
    pub(crate) fn resume(&self) {
        self.paused.store(0, Ordering::Relaxed);
    }

    /// How long the thread has had nothing to do; `None` while it has.
    pub(crate) fn paused_for(&self, now: Duration) -> Option<Duration> {
        match self.paused.load(Ordering::Relaxed) {
            0 => None,
            since => Some(now.saturating_sub(Duration::from_millis(since))),
        }
    }

    /// How long the thread has been in its present step; zero if it is in none.
    pub(crate) fn busy_for(&self, now: Duration) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => now.saturating_sub(Duration::from_millis(began)),
        }
    }
}

/// Joins a thread, unless `give_up` says so, which is asked again and again how long is long
/// enough. `None` if the thread was left behind.
pub(crate) fn join_unless<T>(
    thread: JoinHandle<T>,
    mut give_up: impl FnMut(Duration) -> bool,
) -> Option<std::thread::Result<T>> {
    const PAUSE: Duration = Duration::from_micros(500);
    let since = Instant::now();
    while !thread.is_finished() {
        if give_up(since.elapsed()) {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
    Some(thread.join())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn only_a_step_that_lasts_makes_a_thread_busy() {
        let at = Duration::from_secs;
        let pulse = Pulse::default();
        assert_eq!(pulse.busy_for(at(1000)), Duration::ZERO);
        pulse.begin(at(10));
        assert_eq!(pulse.busy_for(at(15)), at(5));
        // A clock that was read before the step began.
        assert_eq!(pulse.busy_for(at(9)), Duration::ZERO);
        pulse.begin(at(20));
        assert_eq!(pulse.busy_for(at(21)), at(1));
        pulse.end();
        assert_eq!(pulse.busy_for(at(1000)), Duration::ZERO);
        // A step that begins with the clock is a step too.
        pulse.begin(Duration::ZERO);
        assert!(pulse.busy_for(at(1)) > Duration::ZERO);
    }

    #[test]
    fn a_pause_lasts_from_when_there_is_nothing_to_do_until_there_is() {
        let at = Duration::from_secs;
        let pulse = Pulse::default();
        assert_eq!(pulse.paused_for(at(9)), None);
        pulse.pause(at(10));
        assert_eq!(pulse.paused_for(at(13)), Some(at(3)));
        assert_eq!(pulse.paused_for(at(9)), Some(Duration::ZERO));
        pulse.resume();
        assert_eq!(pulse.paused_for(at(14)), None);
        pulse.pause(Duration::ZERO);
        assert!(pulse.paused_for(at(1)).is_some());
    }

    #[test]
    fn a_thread_that_does_not_end_is_left_behind_and_one_that_does_is_joined() {
        let (until, wait) = bounded::<()>(0);
        let stuck = std::thread::spawn(move || wait.recv().is_ok());
        let mut asked = 0;
        let given_up = join_unless(stuck, |_| {
            asked += 1;
            asked == 3
        });
        assert!(given_up.is_none());
        assert_eq!(asked, 3);
        drop(until);
        let done = std::thread::spawn(|| 7);
        assert_eq!(join_unless(done, |_| false).unwrap().unwrap(), 7);
    }
}
