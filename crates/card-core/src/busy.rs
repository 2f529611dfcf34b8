//! How many threads a lane computes with while other programs take its cores.
//!
//! The threads of a forward meet at a barrier after each operation, and spin until the last one has
//! come. If that one waits for a core that another program has, all others wait with it, and what
//! they burn meanwhile keeps the cores busy for longer. Fewer threads, each of which runs, are
//! faster than many of which one waits.
//!
//! The system says how long threads that could run waited for a core. If that goes on over two
//! windows, the lane gives up as many threads as there are cores taken; after a while it tries all
//! of them again. Each try that fails doubles the time to the next one.

use std::time::Duration;

use crate::backoff::Backoff;

/// Cores count as taken if at least so many threads wait for one, on average.
const TAKEN: f64 = 0.15;
/// Threads that are given up for one that waits all the time, on average. Two programs that share a
/// core get half of it each, so a thread whose core is taken waits for half of the time.
const SHARE: f64 = 2.0;
/// Windows in a row that have to say the same before a thread is given up.
const SURE: u32 = 2;
/// Time after which all threads are tried again.
const FIRST_RETRY: Duration = Duration::from_secs(4);
/// The longest such time.
const LAST_RETRY: Duration = Duration::from_secs(64);

/// What was seen of a lane over a short while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneWindow {
    /// Time in which it computed.
    pub busy: Duration,
    /// Time for which its threads could have run and had no core, summed over the threads.
    pub waited: Duration,
}

impl LaneWindow {
    /// Threads that waited for a core, on average.
    fn waiting(self) -> f64 {
        self.waited.as_secs_f64() / self.busy.as_secs_f64().max(1e-9)
    }
}

/// The number of threads of a lane, with hysteresis. It has no clock and reads nothing.
///
/// ```
/// use std::time::Duration;
///
/// use card_core::busy::{LaneWindow, ThreadRule};
///
/// let mut rule = ThreadRule::new(2);
/// let half = |waited| LaneWindow {
///     busy: Duration::from_millis(500),
///     waited: Duration::from_millis(waited),
/// };
/// // Another program takes a core: one of two threads waits half of the time.
/// assert_eq!(rule.observe(Duration::from_millis(500), half(250)), 2);
/// assert_eq!(rule.observe(Duration::from_millis(1000), half(250)), 1);
/// ```
#[derive(Clone, Debug)]
pub struct ThreadRule {
    all: usize,
    now: usize,
    /// Windows in a row in which cores were taken.
    taken: u32,
    /// All threads are tried, and the next window decides.
    trial: bool,
    /// When all threads are tried again.
    retry_at: Duration,
    /// Times from giving up threads to the next trial.
    retry: Backoff,
}

impl ThreadRule {
    /// A lane that computes with `all` threads while nobody disturbs it.
    pub fn new(all: usize) -> Self {
        let all = all.max(1);
        ThreadRule {
            all,
            now: all,
            taken: 0,
            trial: false,
            retry_at: Duration::ZERO,
            retry: Backoff::new(FIRST_RETRY, LAST_RETRY),
        }
    }

    /// Threads to compute with.
    pub fn threads(&self) -> usize {
        self.now
    }

    /// Learns what a window was like that ended `at` on any clock that goes on. Returns the threads
    /// to compute with from now on.
    pub fn observe(&mut self, at: Duration, window: LaneWindow) -> usize {
        let waiting = window.waiting();
        if waiting > TAKEN {
            self.taken += 1;
            if self.trial || (self.taken >= SURE && self.now > 1) {
                self.give_up(at, waiting);
            }
            return self.now;
        }
        self.taken = 0;
        self.trial = false;
        if self.now < self.all && at >= self.retry_at {
            self.now = self.all;
            self.trial = true;
        }
        self.now
    }

    /// Gives up as many threads as cores are taken, and sets the time of the next trial.
    fn give_up(&mut self, at: Duration, waiting: f64) {
        let cores = (SHARE * waiting).round().max(1.0) as usize;
        self.now = self.now.saturating_sub(cores).max(1);
        if !self.trial {
            self.retry.reset();
        }
        self.retry_at = at.saturating_add(self.retry.fail());
        self.trial = false;
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(500);

    /// A rule with a clock, whose windows follow each other.
    struct ClockedRule {
        rule: ThreadRule,
        at: Duration,
    }

    impl ClockedRule {
        fn new(threads: usize) -> Self {
            ClockedRule {
                rule: ThreadRule::new(threads),
                at: Duration::ZERO,
            }
        }

        /// A window in which so many threads waited on average.
        fn see(&mut self, waiting: f64) -> usize {
            self.at += WINDOW;
            let window = LaneWindow {
                busy: WINDOW,
                waited: WINDOW.mul_f64(waiting),
            };
            self.rule.observe(self.at, window)
        }

        /// Windows until the number of threads is another one.
        fn until_change(&mut self, waiting: f64) -> u32 {
            let before = self.rule.threads();
            (1..1000)
                .find(|_| self.see(waiting) != before)
                .unwrap_or(u32::MAX)
        }
    }

    #[test]
    fn a_machine_of_ones_own_keeps_all_threads() {
        let mut clocked = ClockedRule::new(8);
        for waiting in [0.0, 0.1, 0.02, 0.14, 0.0] {
            assert_eq!(clocked.see(waiting), 8);
        }
        // One window may be a program that came and went.
        assert_eq!(clocked.see(3.0), 8);
        assert_eq!(clocked.see(0.0), 8);
        assert_eq!(clocked.see(3.0), 8);
    }

    #[test]
    fn as_many_threads_go_as_cores_are_taken() {
        for (threads, waiting, left) in [
            (2, 0.5, 1),
            (2, 1.0, 1),
            (16, 0.5, 15),
            (16, 2.0, 12),
            (4, 9.0, 1),
            (3, 0.2, 2),
        ] {
            let mut clocked = ClockedRule::new(threads);
            assert_eq!(clocked.see(waiting), threads);
            assert_eq!(clocked.see(waiting), left, "{threads} {waiting}");
        }
    }

    #[test]
    fn one_thread_that_waits_all_the_same_stays_alone() {
        let mut clocked = ClockedRule::new(2);
        clocked.see(0.8);
        assert_eq!(clocked.see(0.8), 1);
        for _ in 0..200 {
            assert_eq!(clocked.see(0.4), 1);
        }
        // The others have gone.
        assert_eq!(clocked.see(0.0), 2);
        assert_eq!(clocked.see(0.0), 2);
    }

    #[test]
    fn trials_become_rarer_while_they_fail_and_begin_anew_once_one_holds() {
        let mut clocked = ClockedRule::new(2);
        clocked.see(0.5);
        assert_eq!(clocked.see(0.5), 1);
        let mut waits = Vec::new();
        for _ in 0..6 {
            // With one thread nobody waits; with both one does.
            waits.push(clocked.until_change(0.0));
            assert_eq!(clocked.rule.threads(), 2);
            assert_eq!(
                clocked.see(0.5),
                1,
                "a trial that fails ends with its window"
            );
        }
        assert_eq!(waits, [8, 16, 32, 64, 128, 128]);
        clocked.until_change(0.0);
        assert_eq!(clocked.see(0.0), 2);
        clocked.see(0.5);
        assert_eq!(clocked.see(0.5), 1);
        assert_eq!(clocked.until_change(0.0), 8);
    }

    #[test]
    fn there_is_always_a_thread() {
        let mut rule = ThreadRule::new(0);
        assert_eq!(rule.threads(), 1);
        let never = LaneWindow {
            busy: Duration::ZERO,
            waited: Duration::from_secs(1),
        };
        for _ in 0..3 {
            assert_eq!(rule.observe(Duration::MAX, never), 1);
        }
    }
}
