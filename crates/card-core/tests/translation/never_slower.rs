//! A drafter of another vocabulary in virtual time, on the target's lane: what its steps really take,
//! translation and every piece of a token included, decides whether it is used. So decoding with it
//! takes no longer than without.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::driver::{Driver, NextStep, SharedLane};
use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use card_core::policy::Mode;
use card_core::protocol::{DraftInput, Lanes, Outlook};
use card_core::scheduler::{Output, Scheduler};
use card_core::translation::Translated;
use card_core::types::{SequenceId, Source, Token};

use crate::letters::{DRAFT, LIMITS, Letters, TARGET, map, synthetic};
use crate::play::Play;

/// A clock that models advance.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn pass(&self, ms: f64) {
        self.0.fetch_add((1e3 * ms) as u64, Ordering::Relaxed);
    }
}

/// A model whose forwards take what the curve says.
struct Paced<M> {
    inner: M,
    cost: CostCurve,
    clock: Clock,
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

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.clock.pass(self.cost.ms(forward.rows.len() as u32));
        self.inner.forward(forward)
    }
}

/// A translated drafter on the target's lane.
struct Lane<M> {
    drafter: Drafter,
    model: Translated<Paced<M>>,
    clock: Clock,
    steps: usize,
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

/// A text, how long it took, and the drafter's steps.
struct Timed {
    text: Vec<Token>,
    ms: f64,
    steps: usize,
}

/// Writes with a drafter whose forwards take `draft_ms` a row; the scheduler believes in a
/// millisecond at first.
fn write<M: Model>(mode: Mode, draft: M, draft_ms: f64) -> Timed {
    let clock = Clock::default();
    let play = Play {
        max_tokens: 380,
        ..Play::new(mode, Lanes::Shared)
    };
    let target = Paced {
        inner: Letters::new(TARGET, LIMITS),
        cost: CostCurve::from_points([(1, 10.0), (8, 10.5), (24, 12.0)]),
        clock: clock.clone(),
    };
    let paced = Paced {
        inner: draft,
        cost: CostCurve::from_points([(1, draft_ms), (24, 24.0 * draft_ms)]),
        clock: clock.clone(),
    };
    let model = Translated::new(Box::new(paced), map()).unwrap();
    let mut lane = Lane {
        drafter: play.drafter(&model),
        model,
        clock: clock.clone(),
        steps: 0,
    };
    let mut driver = Driver::new(play.scheduler(), Box::new(target));
    let sequence = SequenceId(1);
    let request = play.request(sequence, vec![0, 1, 6, 9]);
    driver.scheduler.open(request, clock.now()).unwrap();
    lane.drafter
        .handle(driver.scheduler.introduction(sequence).unwrap());
    let text = run(&mut driver, &mut lane, &clock);
    Timed {
        text,
        ms: 1e3 * clock.now().as_secs_f64(),
        steps: lane.steps,
    }
}

/// Runs to the end; returns what was written.
fn run<M: Model>(driver: &mut Driver, lane: &mut Lane<M>, clock: &Clock) -> Vec<Token> {
    let mut text = Vec::new();
    loop {
        match driver.next_step(&|| clock.now(), lane) {
            NextStep::Decode(forward) => {
                driver.decode(&forward).unwrap();
                driver.complete(&forward, clock.now());
            }
            NextStep::Drafting => {}
            NextStep::Wait(until) => panic!("waits until {until:?} on one lane"),
            NextStep::Idle => return text,
        }
        for output in driver.scheduler.take_outputs() {
            match output {
                Output::Tokens(sequence, from, tokens) => {
                    text.extend(&tokens);
                    lane.drafter.handle(DraftInput::Commit {
                        sequence,
                        from,
                        tokens,
                    });
                }
                Output::Finished(sequence, _) => {
                    lane.drafter.handle(DraftInput::Close { sequence });
                }
                Output::Round(_) => {}
                Output::Failed(_, why) => panic!("{why}"),
            }
        }
    }
}

/// How many times as fast as plain decoding, and the drafter's steps.
fn against_plain<M: Model>(draft: impl Fn() -> M, draft_ms: f64) -> (f64, usize) {
    let plain = write(Mode::Plain, draft(), draft_ms);
    assert_eq!(plain.steps, 0);
    let auto = write(Mode::Auto, draft(), draft_ms);
    assert_eq!(plain.text, auto.text);
    (plain.ms / auto.ms, auto.steps)
}

#[test]
fn one_that_is_hardly_ever_right_costs_next_to_nothing() {
    for draft_ms in [0.2, 2.0, 8.0] {
        let (ratio, _) = against_plain(|| synthetic(DRAFT.len(), LIMITS), draft_ms);
        assert!(ratio > 0.92, "{ratio:.3} at {draft_ms} ms a piece");
    }
}

#[test]
fn one_that_is_right_is_used_as_far_as_its_pieces_are_cheap() {
    let letters = || Letters::new(DRAFT, LIMITS);
    let (cheap, many) = against_plain(letters, 0.2);
    assert!(cheap > 1.05, "{cheap:.3} times plain decoding");
    // It was said to take a millisecond, and takes as long as the target.
    let (dear, few) = against_plain(letters, 10.0);
    assert!(dear > 0.92, "{dear:.3} of plain decoding");
    assert!(
        few * 4 < many,
        "{few} steps, and {many} where they are cheap"
    );
}
