//! Work on the models of an engine while the engine has none: measurements that nobody waits for.
//!
//! Such work goes forward by forward. Before each it waits until nothing has run for a while, so a
//! request that comes meets at most one forward.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};

use crate::forward_times::{CostDeviation, ForwardTimes};
use crate::health::{Health, Watch};
use crate::meters::Meters;
use crate::update::EngineUpdate;

/// Most rows of a forward in a pause. Those who read prompts are never held up for longer.
const MOST_ROWS: usize = 128;
/// How often to look whether there is a pause.
const LOOK: Duration = Duration::from_millis(20);

/// An engine as those see it who work in its pauses. It does not keep the engine alive.
#[derive(Clone)]
pub struct Pauses {
    watch: Arc<Watch>,
    meters: Arc<Meters>,
    ended: Arc<AtomicBool>,
}

impl Pauses {
    pub(crate) fn new(watch: Arc<Watch>, meters: Arc<Meters>) -> Self {
        Pauses {
            watch,
            meters,
            ended: Arc::default(),
        }
    }

    /// How long nothing has run; `None` while something does, and once the engine has ended.
    pub fn lasts(&self) -> Option<Duration> {
        let now = self.meters.now();
        let alive = self.watch.health(now) == Health::Alive;
        self.watch.pulse.paused_for(now).filter(|_| alive)
    }

    /// Waits until nothing has run for so long; `false` if the engine has ended, or the work has
    /// ([`Pauses::end`]).
    pub fn wait(&self, quiet: Duration) -> bool {
        loop {
            if self.is_over() {
                return false;
            }
            if self.lasts().is_some_and(|lasts| lasts >= quiet) {
                return true;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Whether the engine has ended, or the work in its pauses has.
    pub fn is_over(&self) -> bool {
        let health = self.watch.health(self.meters.now());
        matches!(health, Health::Ended(_)) || self.ended.load(Ordering::Relaxed)
    }

    /// Ends the work in pauses: whoever waits, in this clone or another, waits no more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Has the engine take up what was found out, before the next generation that begins while no
    /// other runs.
    pub fn update(&self, found: EngineUpdate) {
        self.watch.updates.leave(found);
    }

    /// What the latest forwards of the target and of the first draft model took.
    pub fn forward_times(&self) -> [ForwardTimes; 2] {
        self.meters.forward_times()
    }

    /// The measured cost that the target's forwards contradicted, if they did.
    pub fn deviation(&self) -> Option<CostDeviation> {
        self.meters.deviation()
    }
}

/// A model whose forwards wait for pauses: before each, something is asked that may take its time,
/// and says `false` if there is to be no forward any more. The time of a forward itself is not
/// changed: the waiting is done with the change of the KV cache before it.
pub struct Patient {
    inner: Box<dyn Model + Send>,
    wait: Box<dyn FnMut() -> bool + Send>,
}

impl Patient {
    /// A model whose forwards wait; it waits for the first one now.
    ///
    /// # Errors
    /// If there is to be no forward.
    pub fn new(
        inner: Box<dyn Model + Send>,
        wait: Box<dyn FnMut() -> bool + Send>,
    ) -> Result<Self, ModelError> {
        let mut patient = Patient { inner, wait };
        patient.wait()?;
        Ok(patient)
    }

    fn wait(&mut self) -> Result<(), ModelError> {
        if (self.wait)() {
            return Ok(());
        }
        let why = "the engine ends, and with it what was measured in its pauses";
        Err(ModelError::Failed(why.to_owned()))
    }
}

impl Logits for Patient {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl Model for Patient {
    fn limits(&self) -> Limits {
        let limits = self.inner.limits();
        Limits {
            rows: limits.rows.min(MOST_ROWS),
            ..limits
        }
    }

    fn vocab(&self) -> usize {
        self.inner.vocab()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)?;
        self.wait()
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.inner.forward(forward)
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.inner.reset()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use card_core::forward::Rollback;
    use card_core::synthetic::{Synthetic, SyntheticConfig};

    use super::*;
    use crate::selftest;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn model() -> Box<Synthetic> {
        Box::new(Synthetic::new(SyntheticConfig {
            vocab: 50,
            seed: 5,
            spread: 2.0,
            noise: 0.0,
            noise_seed: 1,
            limits: Limits {
                context: 1000,
                cells: 4000,
                rows: 256,
                leaves: 32,
                rollback: Rollback::Free,
            },
        }))
    }

    #[test]
    fn a_pause_is_over_when_something_runs_or_the_engine_ends() {
        let watch = Arc::new(Watch::new(AT(100)));
        let pauses = Pauses::new(watch.clone(), Arc::new(Meters::new()));
        assert_eq!(pauses.lasts(), None, "the thread has not begun");
        watch.pulse.pause(Duration::ZERO);
        assert!(pauses.wait(Duration::ZERO));
        watch.pulse.resume();
        assert_eq!(pauses.lasts(), None);
        watch.pulse.pause(Duration::ZERO);
        watch.end("a test".into());
        assert_eq!(pauses.lasts(), None);
        assert!(!pauses.wait(Duration::ZERO));
    }

    #[test]
    fn work_that_is_ended_waits_no_more() {
        let watch = Arc::new(Watch::new(AT(100)));
        let pauses = Pauses::new(watch, Arc::new(Meters::new()));
        let other = pauses.clone();
        let waits = std::thread::spawn(move || other.wait(AT(1)));
        pauses.end();
        assert!(!waits.join().unwrap());
    }

    #[test]
    fn a_self_test_in_pauses_finds_what_one_at_a_stretch_finds() {
        let passage: Vec<u32> = (0..40).map(|i| i % 50).collect();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let always = Box::new(move || counter.fetch_add(1, Ordering::Relaxed) < usize::MAX);
        let mut patient = Patient::new(model(), always).unwrap();
        let found = selftest::run(&mut patient, &passage, &[8, 560], &mut |_, _| {}).unwrap();
        assert_eq!(found.means(), selftest::Means::AnyShape);
        assert!(asked.load(Ordering::Relaxed) > 300);
        // It can still say what reading a prompt costs.
        assert_eq!(found.prefill.map(|p| p.0), Some(MOST_ROWS));
    }

    #[test]
    fn an_engine_that_ends_ends_the_self_test_with_an_error() {
        let passage: Vec<u32> = (0..40).map(|i| i % 50).collect();
        let mut left = 20;
        let wait = Box::new(move || {
            left -= 1;
            left > 0
        });
        let mut patient = Patient::new(model(), wait).unwrap();
        let found = selftest::run(&mut patient, &passage, &[8], &mut |_, _| {});
        assert!(found.unwrap_err().to_string().contains("the engine ends"));
        assert!(Patient::new(model(), Box::new(|| false)).is_err());
    }
}
