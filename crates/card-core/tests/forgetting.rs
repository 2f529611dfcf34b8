//! What is over or was forgotten leaves the KV caches, though nothing is asked any more.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::driver::{Driver, NextStep, SharedLane};
use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{Lanes, Outlook};
use card_core::sampler::Sampling;
use card_core::scheduler::{Learned, Output, Request, Scheduler, SchedulerConfig, Shapes};
use card_core::synthetic::Synthetic;
use card_core::types::{SequenceId, Source, Tenant, Token};
use common::{LIMITS, VOCAB, model};

const PROMPT: [Token; 5] = [3, 1, 4, 1, 5];

/// A model that counts the stems that are released.
struct Releases(Synthetic, Arc<AtomicUsize>);

impl Logits for Releases {
    fn row(&self, i: usize) -> &[f32] {
        self.0.row(i)
    }
}

impl Model for Releases {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn vocab(&self) -> usize {
        self.0.vocab()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        if let KvOp::Release { .. } = op {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
        self.0.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.0.forward(forward)
    }
}

struct NoDrafter;

impl SharedLane for NoDrafter {
    fn outlooks(&mut self) -> Vec<Outlook> {
        Vec::new()
    }

    fn draft(&mut self, _: Source, _: Duration, _: &mut Scheduler) -> bool {
        false
    }
}

fn scheduler() -> Scheduler {
    let config = SchedulerConfig {
        limits: LIMITS,
        vocab: VOCAB,
        shapes: Shapes::FREE,
        prefill_rows: 8,
        cache_bytes: 1 << 14,
        prefix_slots: 2,
        lookup: false,
        trace: false,
        near_tie: 0.0,
    };
    let mode = PolicyConfig {
        mode: Mode::Plain,
        lanes: Lanes::Shared,
        draft_len: 4,
    };
    let drafts = [CostCurve::default(), CostCurve::default()];
    let policy = Policy::new(mode, CostCurve::default(), drafts);
    Scheduler::new(config, policy, Learned::default())
}

fn request() -> Request {
    Request {
        sequence: SequenceId(1),
        prompt: PROMPT.to_vec(),
        tenant: Tenant::SHARED,
        params: Sampling::default(),
        max_tokens: 20,
        stop_tokens: Vec::new(),
        prediction: Vec::new(),
        logprobs: None,
        constraint: None,
        plain: false,
        most_candidates: None,
    }
}

/// Drives until nothing runs. Returns prompt and answer.
fn written(driver: &mut Driver) -> Vec<Token> {
    let mut text = PROMPT.to_vec();
    let now = || Duration::ZERO;
    while let NextStep::Decode(forward) = driver.next_step(&now, &mut NoDrafter) {
        driver.decode(&forward).unwrap();
        driver.complete(&forward, now());
        for output in driver.scheduler.take_outputs() {
            if let Output::Tokens(_, _, tokens) = output {
                text.extend(tokens);
            }
        }
    }
    text
}

#[test]
fn what_was_forgotten_is_free_before_another_text_begins() {
    let released = Arc::new(AtomicUsize::new(0));
    let target = Releases(model(0.0), released.clone());
    let mut scheduler = scheduler();
    scheduler.open(request(), Duration::ZERO).unwrap();
    let mut driver = Driver::new(scheduler, Box::new(target));
    let text = written(&mut driver);
    assert_eq!(text.len(), PROMPT.len() + 20);
    let clock = || Duration::ZERO;
    driver.apply_due(&clock).unwrap();
    assert_eq!(released.load(Ordering::Relaxed), 0, "it is kept");
    driver.scheduler.forget_text(Tenant::SHARED, &text);
    let step = driver.next_step(&clock, &mut NoDrafter);
    assert!(matches!(step, NextStep::Idle), "{step:?}");
    driver.apply_due(&clock).unwrap();
    assert_eq!(released.load(Ordering::Relaxed), 1);
}
