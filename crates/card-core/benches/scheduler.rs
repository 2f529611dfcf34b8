//! A round of the scheduler with 1, 8 and 64 sequences:
//! `cargo bench -p card-core --bench scheduler`.
//!
//! Measured are the scheduler's own calls: taking drafts, deciding, building the forward,
//! verifying it, and handing out what happened. The made-up models and the drafter work in
//! between, and do not count.

#[allow(dead_code)]
#[path = "../examples/made_up/mod.rs"]
mod made_up;

use std::time::{Duration, Instant};

use card_core::drafter::Drafter;
use card_core::forward::{Forward, KvOp, Model};
use card_core::policy::Mode;
use card_core::protocol::{DraftInput, Lanes};
use card_core::scheduler::{Action, Output, Scheduler};
use card_core::synthetic::Synthetic;
use card_core::types::SequenceId;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Steps of the drafter in a round.
const STEPS: usize = 4;

/// A scheduler and a drafter with lanes of their own, and what they work with.
struct Pair {
    scheduler: Scheduler,
    target: Synthetic,
    drafter: Drafter,
    draft: Synthetic,
    now: Duration,
    ops: Vec<KvOp>,
}

impl Pair {
    /// So many sequences, whose prompts were read.
    fn new(sequences: u64) -> Self {
        let mut pair = Pair {
            scheduler: made_up::scheduler(Mode::Card, Lanes::Disjoint),
            target: made_up::model(0.0),
            drafter: made_up::drafter(Lanes::Disjoint),
            draft: made_up::model(0.5),
            now: Duration::ZERO,
            ops: Vec::new(),
        };
        for name in 0..sequences {
            let request = made_up::request(SequenceId(name), 4000);
            let opened = pair.scheduler.open(request, pair.now);
            opened.expect("the request is possible");
        }
        for opened in pair.scheduler.introductions() {
            pair.drafter.handle(opened);
        }
        for _ in 0..sequences {
            pair.round();
        }
        pair
    }

    /// Time that the scheduler takes for a round; `None` if every sequence is over.
    fn round(&mut self) -> Option<Duration> {
        let mut spent = Duration::ZERO;
        for _ in 0..STEPS {
            spent += self.draft();
        }
        let start = Instant::now();
        let forward = loop {
            match self.scheduler.poll(self.now, &[]) {
                Action::Forward(forward) => break forward,
                Action::Wait(until) => self.now = until,
                Action::Draft(_) | Action::Idle => return None,
            }
        };
        self.scheduler.take_ops(&mut self.ops);
        spent += start.elapsed();
        decode(&mut self.target, &mut self.ops, &forward);
        self.now += Duration::from_millis(10);
        let start = Instant::now();
        self.scheduler.complete(&forward, &self.target, self.now);
        let outputs = self.scheduler.take_outputs();
        spent += start.elapsed();
        for output in outputs {
            match output {
                Output::Tokens(sequence, from, tokens) => self.drafter.handle(DraftInput::Commit {
                    sequence,
                    from,
                    tokens,
                }),
                Output::Finished(sequence, _) => {
                    self.drafter.handle(DraftInput::Close { sequence });
                }
                Output::Round(_) | Output::Failed(..) => {}
            }
        }
        Some(spent)
    }

    /// A step of the drafter. Returns the time that the scheduler takes for its drafts.
    fn draft(&mut self) -> Duration {
        let Some(forward) = self.drafter.poll(self.now) else {
            return Duration::ZERO;
        };
        self.drafter.take_ops(&mut self.ops);
        decode(&mut self.draft, &mut self.ops, &forward);
        self.now += Duration::from_millis(1);
        let drafted = self.drafter.complete(&forward, &self.draft, self.now);
        let start = Instant::now();
        self.scheduler.drafted(&drafted, self.now);
        start.elapsed()
    }
}

fn decode(model: &mut Synthetic, ops: &mut Vec<KvOp>, forward: &Forward) {
    for op in ops.drain(..) {
        model.apply(op).expect("the model has what is changed");
    }
    model.forward(forward).expect("the forward is possible");
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduler");
    // The models take longer than what is measured.
    group.sample_size(20);
    group.measurement_time(Duration::from_secs(1));
    for sequences in [1, 8, 64] {
        group.bench_function(BenchmarkId::new("round", sequences), |b| {
            let mut pair = Pair::new(sequences);
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    if pair.scheduler.running() < sequences as usize {
                        pair = Pair::new(sequences);
                    }
                    spent += pair.round().unwrap_or_default();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
