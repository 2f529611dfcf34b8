//! A target and a drafter on one lane, whose work advances a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::driver::{Driver, NextStep, SharedLane};
use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use card_core::protocol::{DraftInput, Outlook};
use card_core::scheduler::{Output, Scheduler};
use card_core::types::{Source, Token};

/// A clock that models advance.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    pub fn pass(&self, ms: f64) {
        self.0.fetch_add((1e3 * ms) as u64, Ordering::Relaxed);
    }
}

/// A model whose forwards take what the curve says.
pub struct Paced<M> {
    pub inner: M,
    pub cost: CostCurve,
    pub clock: Clock,
}

impl<M: Model> Logits for Paced<M> {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl<M: Model> Model for Paced<M> {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn vocab(&self) -> usize {
        self.inner.vocab()
    }

    fn state_bytes(&self) -> Option<usize> {
        self.inner.state_bytes()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.clock.pass(self.cost.ms(forward.rows.len() as u32));
        self.inner.forward(forward)
    }
}

/// A drafter on the target's lane, with a model that advances the clock.
pub struct Lane<M> {
    pub drafter: Drafter,
    pub model: M,
    pub clock: Clock,
    /// Steps that it took.
    pub steps: usize,
}

impl<M: Model> SharedLane for Lane<M> {
    fn outlooks(&mut self) -> Vec<Outlook> {
        self.drafter.outlook().into_iter().collect()
    }

    fn draft(&mut self, _: Source, now: Duration, scheduler: &mut Scheduler) -> bool {
        let Some(forward) = self.drafter.poll(now) else {
            return false;
        };
        let mut ops = Vec::new();
        self.drafter.take_ops(&mut ops);
        for op in ops {
            self.model.apply(op).unwrap();
        }
        self.model.forward(&forward).unwrap();
        self.steps += 1;
        let now = self.clock.now();
        let drafted = self.drafter.complete(&forward, &self.model, now);
        scheduler.drafted(&drafted, now);
        true
    }
}

/// What was written.
#[derive(Default)]
pub struct Written {
    pub text: Vec<Token>,
    /// Candidates that were verified.
    pub offered: usize,
}

/// Runs what was opened to its end.
pub fn run<M: Model>(driver: &mut Driver, lane: &mut Lane<M>, written: &mut Written) {
    let clock = lane.clock.clone();
    loop {
        match driver.next_step(&|| clock.now(), lane) {
            NextStep::Decode(forward) => {
                driver.decode_timed(&forward, &|| clock.now()).unwrap();
                driver.complete(&forward, clock.now());
            }
            NextStep::Drafting => {}
            NextStep::Wait(until) => panic!("waits until {until:?} on one lane"),
            NextStep::Idle => return,
        }
        for output in driver.scheduler.take_outputs() {
            match output {
                Output::Tokens(sequence, from, tokens) => {
                    written.text.extend(&tokens);
                    lane.drafter.handle(DraftInput::Commit {
                        sequence,
                        from,
                        tokens,
                    });
                }
                Output::Round(round) => written.offered += round.offered,
                Output::Finished(sequence, _) => {
                    lane.drafter.handle(DraftInput::Close { sequence });
                }
                Output::Failed(_, why) => panic!("{why}"),
            }
        }
    }
}
