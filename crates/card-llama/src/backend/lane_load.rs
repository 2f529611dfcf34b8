//! Whether other programs take the cores of a lane, and how many threads it computes with then.

use std::time::{Duration, Instant};

use card_core::busy::{LaneWindow, ThreadRule};
use card_core::words::counted;

/// Time of forwards after which the lane is looked at again. To look costs a small file for each
/// thread of the process.
const WINDOW: Duration = Duration::from_millis(500);

/// The load of a lane: forwards report to it.
#[derive(Debug)]
pub(super) struct LaneLoad {
    rule: ThreadRule,
    started: Instant,
    /// Time of the forwards since the last look.
    busy: Duration,
    /// What the system said at the last look.
    before: Option<Duration>,
}

impl LaneLoad {
    /// A lane that computes with `all` threads while nobody disturbs it.
    pub(super) fn new(all: usize) -> Self {
        LaneLoad {
            rule: ThreadRule::new(all),
            started: Instant::now(),
            busy: Duration::ZERO,
            before: None,
        }
    }

    /// Threads to compute the next forward with.
    pub(super) fn threads(&self) -> usize {
        self.rule.threads()
    }

    /// A forward took so long. `waited` says for how long the process's threads have waited for
    /// cores since they began; where the system does not say, the number of threads stays.
    pub(super) fn forward(&mut self, took: Duration, waited: &dyn Fn() -> Option<Duration>) {
        if self.before.is_none() {
            // The first forward only begins the count.
            self.before = waited();
            return;
        }
        self.busy += took;
        if self.busy < WINDOW {
            return;
        }
        let now = waited();
        if let (Some(before), Some(now)) = (self.before, now) {
            let window = LaneWindow {
                busy: self.busy,
                // Of threads that have ended nothing is known any more.
                waited: now.saturating_sub(before),
            };
            let threads = self.rule.threads();
            let next = self.rule.observe(self.started.elapsed(), window);
            if next != threads {
                tracing::info!(
                    "other programs {} the cores: computing with {}",
                    if next < threads {
                        "take"
                    } else {
                        "may have left"
                    },
                    counted(next, "thread")
                );
            }
        }
        self.before = now;
        self.busy = Duration::ZERO;
    }
}

/// For how long the threads of this process have waited for a core, all together; `None` where the
/// system does not say. (Linux: the second number of `/proc/PID/task/TID/schedstat`, nanoseconds.)
pub(super) fn waited_for_cores() -> Option<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let waits = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        run_delay(&text)
    });
    waits.reduce(Duration::saturating_add)
}

/// The time for which a task could have run and did not, by its `schedstat`.
fn run_delay(schedstat: &str) -> Option<Duration> {
    let nanoseconds = schedstat.split_whitespace().nth(1)?;
    Some(Duration::from_nanos(nanoseconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_schedstat_is_read() {
        assert_eq!(run_delay("123 4567 89\n"), Some(Duration::from_nanos(4567)));
        for odd in ["", "1", "1 x 3", "1 -5 3"] {
            assert_eq!(run_delay(odd), None, "{odd:?}");
        }
    }

    /// What the system says if the threads wait for `each` from one look to the next.
    fn growing(total: &Cell<Duration>, each: Duration) -> impl Fn() -> Option<Duration> {
        move || {
            total.set(total.get() + each);
            Some(total.get())
        }
    }

    #[test]
    fn threads_go_when_they_wait_and_stay_where_nobody_knows() {
        let took = Duration::from_millis(100);
        let total = Cell::new(Duration::ZERO);
        let mut load = LaneLoad::new(2);
        // Two windows of five forwards, in each of which one thread waited for half of the time.
        // The system is asked once a window.
        for _ in 0..=10 {
            load.forward(took, &growing(&total, Duration::from_millis(250)));
        }
        assert_eq!(load.threads(), 1);
        let mut unknown = LaneLoad::new(2);
        for _ in 0..100 {
            unknown.forward(took, &|| None);
        }
        assert_eq!(unknown.threads(), 2);
    }
}
