//! A long prompt does not stall others, and others do not hold it up for long. In virtual time.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::driver::{Driver, NextStep, SharedLane};
use card_core::forward::{Forward, KvOp, Limits, Model, Rollback};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{DraftInput, DraftPlan, Lanes, Outlook};
use card_core::sampler::Sampling;
use card_core::scheduler::{Learned, Output, Request, Scheduler, SchedulerConfig, Shapes};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{SequenceId, Source, Tenant, Token};

const VOCAB: usize = 20;
const LIMITS: Limits = Limits {
    context: 8192,
    cells: 1 << 18,
    rows: 512,
    leaves: 64,
    rollback: Rollback::Free,
};
/// Tokens of a long prompt.
const LONG: usize = 4000;
/// Prompt tokens of a forward at most.
const PIECE: usize = 256;
/// A gap of so many milliseconds is always allowed.
const SHORT_MS: f64 = 250.0;

/// Milliseconds by rows of a processor: beyond some rows each costs its time.
const PROCESSOR: &[(u32, f64)] = &[
    (1, 28.0),
    (2, 30.0),
    (4, 34.0),
    (8, 44.0),
    (16, 72.0),
    (32, 130.0),
    (64, 250.0),
    (128, 490.0),
    (256, 960.0),
];
/// The same of a GPU: many rows cost hardly more than one.
const DEVICE: &[(u32, f64)] = &[(1, 15.0), (8, 16.0), (64, 21.0), (256, 42.0), (512, 75.0)];

const FREE: Shapes = Shapes::FREE;
/// Prompts are read in forwards of their own.
const APART: Shapes = Shapes {
    prefill_alone: true,
    ..Shapes::FREE
};

/// What is simulated.
#[derive(Clone, Copy)]
struct Setup {
    /// Milliseconds of the target's forwards.
    cost: &'static [(u32, f64)],
    shapes: Shapes,
    /// Sequences that decode.
    streams: usize,
    /// Long prompts that come at the same time.
    prompts: usize,
    /// How many times longer a forward takes at the end of a long prompt.
    slower: f64,
    /// A drafter shares the lane.
    drafts: bool,
}

const ONE_OF_EACH: Setup = Setup {
    cost: PROCESSOR,
    shapes: FREE,
    streams: 1,
    prompts: 1,
    slower: 1.0,
    drafts: false,
};

/// What came of it, in milliseconds.
#[derive(Debug, Default)]
struct Seen {
    /// The longest time between two tokens of one of those that decode.
    gap: f64,
    /// Until the last prompt was read.
    time: f64,
    /// Prompt rows of each forward that read a prompt.
    pieces: Vec<usize>,
}

fn model(noise: f32) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise,
        noise_seed: 99,
        limits: LIMITS,
    })
}

fn scheduler(setup: &Setup) -> Scheduler {
    let policy = PolicyConfig {
        mode: if setup.drafts {
            Mode::Card
        } else {
            Mode::Plain
        },
        lanes: Lanes::Shared,
        draft_len: 4,
    };
    let target = CostCurve::from_points(setup.cost.iter().copied());
    let policy = Policy::new(policy, target, [draft_cost(), CostCurve::default()]);
    let config = SchedulerConfig {
        limits: LIMITS,
        vocab: VOCAB,
        shapes: setup.shapes,
        prefill_rows: PIECE,
        cache_bytes: 1 << 15,
        prefix_slots: 0,
        lookup: false,
        trace: false,
        near_tie: 0.0,
    };
    let mut scheduler = Scheduler::new(config, policy, Learned::default());
    if !setup.drafts {
        scheduler.drafter_lost();
    }
    scheduler
}

fn draft_cost() -> CostCurve {
    CostCurve::from_points([(1, 8.0), (32, 60.0), (256, 400.0)])
}

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

/// A drafter that takes turns with the target.
struct Mate {
    drafter: Drafter,
    model: Synthetic,
    /// Its forward that runs, and when that ends.
    drafting: Option<(Forward, Duration)>,
}

impl Mate {
    fn new() -> Self {
        let plan = DraftPlan {
            chain: None,
            branch: 3,
            max_depth: 8,
            cache_bytes: 1 << 15,
            prefix_slots: 0,
            lanes: Lanes::Shared,
        };
        Mate {
            drafter: Drafter::new(plan.config(Source::Draft, LIMITS, VOCAB), draft_cost()),
            model: model(0.3),
            drafting: None,
        }
    }
}

impl SharedLane for Mate {
    fn outlooks(&mut self) -> Vec<Outlook> {
        self.drafter.outlook().into_iter().collect()
    }

    fn draft(&mut self, _source: Source, now: Duration, _scheduler: &mut Scheduler) -> bool {
        let mut ops: Vec<KvOp> = Vec::new();
        self.drafter.take_ops(&mut ops);
        for op in ops {
            self.model.apply(op).unwrap();
        }
        let Some(forward) = self.drafter.poll(now) else {
            return false;
        };
        self.model.forward(&forward).unwrap();
        let end = now + ms(draft_cost().ms(forward.rows.len().max(forward.pad_to) as u32));
        self.drafting = Some((forward, end));
        true
    }
}

/// A target's lane, and who wrote when.
struct WatchedLane {
    setup: Setup,
    driver: Driver,
    mate: Option<Mate>,
    cost: CostCurve,
    now: Duration,
    /// When each sequence wrote last.
    wrote: BTreeMap<SequenceId, Duration>,
    seen: Seen,
}

impl WatchedLane {
    fn new(setup: Setup) -> Self {
        WatchedLane {
            setup,
            driver: Driver::new(scheduler(&setup), Box::new(model(0.0))),
            mate: setup.drafts.then(Mate::new),
            cost: CostCurve::from_points(setup.cost.iter().copied()),
            now: Duration::ZERO,
            wrote: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    fn open(&mut self, name: u64, prompt: usize, max_tokens: u32) {
        let request = Request {
            sequence: SequenceId(name),
            // No two begin alike, so that none reuses what another has read.
            prompt: (0..prompt)
                .map(|i| ((i * i + i * name as usize) % VOCAB) as Token)
                .collect(),
            tenant: Tenant(name),
            params: Sampling::default(),
            max_tokens,
            stop_tokens: Vec::new(),
            prediction: Vec::new(),
            logprobs: None,
            constraint: None,
            plain: false,
            most_candidates: None,
        };
        self.driver.scheduler.open(request, self.now).unwrap();
        let told = self.driver.scheduler.introduction(SequenceId(name));
        if let (Some(mate), Some(told)) = (&mut self.mate, told) {
            mate.drafter.handle(told);
        }
    }

    /// One step of the lane.
    fn step(&mut self) {
        let now = self.now;
        match self.driver.next_step(&|| now, &mut self.mate) {
            NextStep::Decode(forward) => {
                self.driver.decode(&forward).unwrap();
                self.now += ms(self.takes(&forward));
                self.driver.complete(&forward, self.now);
            }
            NextStep::Drafting => {
                let mate = self.mate.as_mut().unwrap();
                let (forward, end) = mate.drafting.take().unwrap();
                self.now = end;
                let drafted = mate.drafter.complete(&forward, &mate.model, end);
                self.driver.scheduler.drafted(&drafted, end);
            }
            other => panic!("there is nothing to wait for: {other:?}"),
        }
        for output in self.driver.scheduler.take_outputs() {
            self.hear(output);
        }
    }

    /// Milliseconds of a forward: more, the further on its last row lies.
    fn takes(&self, forward: &Forward) -> f64 {
        let at = forward.rows.iter().map(|r| r.position).max();
        let part = f64::from(at.unwrap_or(0)) / LONG as f64;
        let times = 1.0 + (self.setup.slower - 1.0) * part;
        times * self.cost.ms(forward.rows.len().max(forward.pad_to) as u32)
    }

    fn hear(&mut self, output: Output) {
        let told = match output {
            Output::Tokens(sequence, from, tokens) => {
                if let Some(before) = self.wrote.insert(sequence, self.now) {
                    let gap = (self.now - before).as_secs_f64() * 1e3;
                    self.seen.gap = self.seen.gap.max(gap);
                }
                DraftInput::Commit {
                    sequence,
                    from,
                    tokens,
                }
            }
            Output::Round(round) => {
                if round.prefill {
                    self.seen.pieces.push(round.rows);
                }
                return;
            }
            Output::Finished(sequence, _) => DraftInput::Close { sequence },
            Output::Failed(_, why) => panic!("{why}"),
        };
        if let Some(mate) = &mut self.mate {
            mate.drafter.handle(told);
        }
    }
}

/// Reads long prompts beside sequences that decode.
fn read(setup: Setup) -> Seen {
    let mut lane = WatchedLane::new(setup);
    let streams = setup.streams as u64;
    for name in 1..=streams {
        lane.open(name, 5, 4000);
    }
    // They have all begun when the prompts come.
    while (1..=streams).any(|name| !lane.wrote.contains_key(&SequenceId(name))) {
        lane.step();
    }
    lane.seen = Seen::default();
    let begun = lane.now;
    let names = streams + 1..=streams + setup.prompts as u64;
    for name in names.clone() {
        // With a drafter, the gaps while the drafter reads count too.
        let tokens = if setup.drafts { 20 } else { 1 };
        lane.open(name, LONG, tokens);
    }
    let is_read =
        |lane: &WatchedLane, name| lane.driver.scheduler.tokens(SequenceId(name)).is_none();
    while !names.clone().all(|name| is_read(&lane, name)) {
        lane.step();
    }
    lane.seen.time = (lane.now - begun).as_secs_f64() * 1e3;
    lane.seen
}

/// The longest gap that is allowed: four forwards that only decode, or a short time.
fn allowed(setup: &Setup) -> f64 {
    let cost = CostCurve::from_points(setup.cost.iter().copied());
    SHORT_MS.max(4.0 * cost.ms(setup.streams as u32))
}

/// How many times longer than alone the prompts take.
fn against_alone(setup: &Setup, seen: &Seen) -> f64 {
    let alone = read(Setup {
        streams: 0,
        ..*setup
    });
    seen.time / alone.time
}

#[test]
fn a_long_prompt_stalls_nobody_and_takes_little_longer_than_alone() {
    for cost in [PROCESSOR, DEVICE] {
        for shapes in [FREE, APART] {
            for prompts in [1, 3] {
                let setup = Setup {
                    cost,
                    shapes,
                    prompts,
                    ..ONE_OF_EACH
                };
                let seen = read(setup);
                let ratio = against_alone(&setup, &seen);
                let what = format!("{} ms, {ratio}, {cost:?}, {shapes:?}", seen.gap);
                assert!(seen.gap < allowed(&setup), "{what}");
                assert!(ratio < 1.25, "{what}");
            }
        }
    }
}

#[test]
fn alone_a_prompt_is_read_in_the_largest_pieces() {
    for shapes in [FREE, APART] {
        let seen = read(Setup {
            streams: 0,
            shapes,
            ..ONE_OF_EACH
        });
        let (last, whole) = seen.pieces.split_last().unwrap();
        assert_eq!(whole, [PIECE; LONG / PIECE]);
        assert_eq!(*last, LONG % PIECE);
    }
}

#[test]
fn many_that_decode_are_not_stalled_and_leave_the_prompt_its_part() {
    for cost in [PROCESSOR, DEVICE] {
        for shapes in [FREE, APART] {
            let setup = Setup {
                cost,
                shapes,
                streams: 24,
                ..ONE_OF_EACH
            };
            let seen = read(setup);
            let ratio = against_alone(&setup, &seen);
            let what = format!("{} ms, {ratio}, {cost:?}, {shapes:?}", seen.gap);
            assert!(seen.gap < allowed(&setup), "{what}");
            // Where each row costs its time, those of 24 others are a part of every forward.
            let most = if cost == DEVICE { 1.25 } else { 1.6 };
            assert!(ratio < most, "{what}");
        }
    }
}

#[test]
fn what_takes_longer_the_further_a_prompt_goes_is_noticed_on_the_way() {
    let setup = Setup {
        slower: 1.6,
        ..ONE_OF_EACH
    };
    let seen = read(setup);
    assert!(
        seen.gap < allowed(&setup),
        "{} ms, {:?}",
        seen.gap,
        seen.pieces
    );
    assert!(seen.pieces.first() > seen.pieces.iter().rev().nth(1));
}

#[test]
fn pieces_stay_whole_where_they_change_logits() {
    let shapes = Shapes {
        whole_pieces: true,
        ..APART
    };
    let beside = read(Setup {
        shapes,
        ..ONE_OF_EACH
    });
    let alone = read(Setup {
        shapes,
        streams: 0,
        ..ONE_OF_EACH
    });
    assert_eq!(beside.pieces, alone.pieces);
}

#[test]
fn a_drafter_that_reads_the_prompt_on_the_same_lane_stalls_nobody_either() {
    let setup = Setup {
        drafts: true,
        ..ONE_OF_EACH
    };
    let seen = read(setup);
    assert!(
        seen.gap < allowed(&setup),
        "{} ms, {:?}",
        seen.gap,
        seen.pieces
    );
}
