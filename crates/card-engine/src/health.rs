//! Whether the target's thread works, and what follows if it does not.

use std::sync::OnceLock;
use std::time::Duration;

use crate::event::Failure;
use crate::pulse::Pulse;
use crate::readers::Readers;
use crate::update::Updates;

/// Whether an engine works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The engine works, or waits for work.
    Alive,
    /// The target's thread has ended, for this reason. It does not come back.
    Ended(String),
    /// The target has been at one forward or one step for so long, which is longer than
    /// [`Options::target_hang`](crate::Options::target_hang). The engine works again if that
    /// step ends.
    Stalled(Duration),
}

impl Health {
    /// What is wrong, and what to do; `None` if nothing is.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Health::Alive => None,
            Health::Ended(why) => Some(why.clone()),
            Health::Stalled(time) => Some(format!(
                "the target has been at one step for {:.0} s; if its device does not come back, \
                 restart this process",
                time.as_secs_f64()
            )),
        }
    }
}

/// What is known of the target's thread from outside: its heartbeat, and its end.
pub(crate) struct Watch {
    /// The heartbeat.
    pub(crate) pulse: Pulse,
    /// The readers, who are told if the thread does not work.
    pub(crate) readers: Readers,
    /// What was found out, for the thread to take up.
    pub(crate) updates: Updates,
    ended: OnceLock<String>,
    /// A step that takes longer than this hangs.
    hang: Duration,
}

impl Watch {
    pub(crate) fn new(hang: Duration) -> Self {
        Watch {
            pulse: Pulse::default(),
            readers: Readers::default(),
            updates: Updates::default(),
            ended: OnceLock::new(),
            hang,
        }
    }

    /// The thread has ended: whoever waits for it hears why. The first reason counts.
    pub(crate) fn end(&self, why: String) {
        let why = self.ended.get_or_init(|| why).clone();
        self.readers.close(Failure::Stopped(why));
    }

    /// How the engine is, `now` after it started.
    pub(crate) fn health(&self, now: Duration) -> Health {
        if let Some(why) = self.ended.get() {
            return Health::Ended(why.clone());
        }
        let busy = self.pulse.busy_for(now);
        if busy > self.hang {
            Health::Stalled(busy)
        } else {
            Health::Alive
        }
    }

    /// Why the engine takes no work, if it takes none.
    pub(crate) fn refusal(&self, now: Duration) -> Option<Failure> {
        self.health(now).trouble().map(Failure::Stopped)
    }

    /// If the thread hangs, those who wait for it hear so. Should it go on after all, it
    /// finds that nobody reads what it writes, and ends those generations.
    pub(crate) fn check(&self, now: Duration) {
        if let Some(why) = self.refusal(now) {
            self.readers.fail_all(&why);
        }
    }

    /// How often to check.
    pub(crate) fn every(&self) -> Duration {
        (self.hang / 4).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use card_core::types::SequenceId;
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::event::Event;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_step_that_takes_too_long_is_a_stall_and_waiting_is_not() {
        let watch = Watch::new(AT(120));
        assert_eq!(watch.health(AT(5000)), Health::Alive);
        watch.pulse.begin(AT(5000));
        assert_eq!(watch.health(AT(5120)), Health::Alive);
        assert_eq!(watch.health(AT(5121)), Health::Stalled(AT(121)));
        watch.pulse.begin(AT(5121));
        assert_eq!(watch.health(AT(5122)), Health::Alive);
        watch.pulse.end();
        assert_eq!(watch.health(AT(9000)), Health::Alive);
    }

    #[test]
    fn whoever_waits_for_a_target_that_hangs_is_told_once() {
        let watch = Watch::new(AT(10));
        let (sender, events) = unbounded();
        watch.readers.add(SequenceId(1), sender).unwrap();
        watch.pulse.begin(AT(1));
        watch.check(AT(11));
        assert!(events.is_empty());
        assert!(watch.refusal(AT(11)).is_none());
        watch.check(AT(12));
        watch.check(AT(13));
        let heard: Vec<Event> = events.iter().collect();
        let [Event::Failed(Failure::Stopped(why))] = &heard[..] else {
            panic!("{heard:?}");
        };
        assert!(why.contains("11 s"), "{why}");
        assert!(matches!(watch.refusal(AT(12)), Some(Failure::Stopped(_))));
        // It goes on after all.
        watch.pulse.end();
        assert!(watch.refusal(AT(14)).is_none());
        let (sender, events) = unbounded();
        watch.readers.add(SequenceId(2), sender).unwrap();
        watch.check(AT(15));
        assert!(events.is_empty());
    }

    #[test]
    fn the_first_reason_for_an_end_is_the_one_that_is_told() {
        let watch = Watch::new(AT(10));
        watch.end("first".into());
        watch.end("second".into());
        assert_eq!(watch.health(AT(1)), Health::Ended("first".into()));
        let (sender, _events) = unbounded();
        let why = watch.readers.add(SequenceId(1), sender).unwrap_err();
        assert!(why.to_string().contains("first"));
    }
}
