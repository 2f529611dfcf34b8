//! Targets with one state per sequence, in virtual time: what keeping, taking back and saving states
//! takes decides whether anything is proposed or saved.

#![allow(clippy::unwrap_used)]

#[path = "common/paced.rs"]
mod paced;

use std::collections::HashMap;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::driver::Driver;
use card_core::forward::{Forward, KvCell, KvOp, Limits, Logits, Model, ModelError, Rollback};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{DraftPlan, Lanes};
use card_core::sampler::Sampling;
use card_core::scheduler::{
    Learned, Request, SavedStateCounts, Scheduler, SchedulerConfig, Shapes,
};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{SequenceId, Source, Tenant, Token};
use paced::{Clock, Lane, Paced, run};

const VOCAB: usize = 23;
const TARGET_MS: [(u32, f64); 3] = [(1, 10.0), (8, 12.0), (24, 20.0)];
const DRAFT_MS: f64 = 1.0;

fn synthetic(noise: f32, rollback: Rollback) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise,
        noise_seed: 99,
        limits: limits(rollback),
    })
}

fn limits(rollback: Rollback) -> Limits {
    Limits {
        context: 2000,
        cells: 8000,
        rows: 24,
        leaves: 8,
        rollback,
    }
}

/// Milliseconds beside forwards.
#[derive(Clone, Copy, Default)]
struct StateMs {
    /// A forward with candidates keeps the state from before it.
    keep: f64,
    /// Candidates that were rejected are taken back.
    take_back: f64,
    /// A state is saved.
    save: f64,
}

/// A target whose states cost time.
struct Dear {
    inner: Paced<Synthetic>,
    costs: StateMs,
    /// The last row of each sequence in the last forward, until some of its rows join the stem.
    last: HashMap<SequenceId, KvCell>,
}

impl Logits for Dear {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl Model for Dear {
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
        let taken_back = match op {
            KvOp::Commit { sequence, tip, .. } => {
                self.last.remove(&sequence).is_some_and(|last| last != tip)
            }
            KvOp::Prune { sequence } => self.last.remove(&sequence).is_some(),
            _ => false,
        };
        if taken_back {
            self.inner.clock.pass(self.costs.take_back);
        }
        if let KvOp::Save { .. } = op {
            self.inner.clock.pass(self.costs.save);
        }
        self.inner.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        // Of committed tokens only the last one's logits are asked for.
        if forward.rows.iter().filter(|r| r.logits).count() > 1 {
            self.inner.clock.pass(self.costs.keep);
        }
        self.last = forward.rows.iter().map(|r| (r.sequence, r.cell)).collect();
        self.inner.forward(forward)
    }
}

/// How a run goes.
#[derive(Clone)]
struct Play {
    mode: Mode,
    rollback: Rollback,
    costs: StateMs,
    max_tokens: u32,
    prompts: Vec<Vec<Token>>,
}

/// What came of it.
struct Played {
    text: Vec<Token>,
    ms: f64,
    offered: usize,
    states: SavedStateCounts,
}

fn driver(play: &Play, clock: &Clock) -> Driver {
    let config = PolicyConfig {
        mode: play.mode,
        lanes: Lanes::Shared,
        draft_len: 4,
    };
    let drafts = [
        CostCurve::from_points([(1, DRAFT_MS)]),
        CostCurve::default(),
    ];
    let policy = Policy::new(config, CostCurve::from_points(TARGET_MS), drafts);
    let config = SchedulerConfig {
        limits: limits(play.rollback),
        vocab: VOCAB,
        shapes: Shapes::FREE,
        prefill_rows: 8,
        cache_bytes: 1 << 15,
        prefix_slots: 2,
        lookup: false,
        trace: false,
        near_tie: 0.0,
    };
    let scheduler = Scheduler::new(config, policy, Learned::default());
    let paced = Paced {
        inner: synthetic(0.0, play.rollback),
        cost: CostCurve::from_points(TARGET_MS),
        clock: clock.clone(),
    };
    let target = Dear {
        inner: paced,
        costs: play.costs,
        last: HashMap::new(),
    };
    Driver::new(scheduler, Box::new(target))
}

fn lane(clock: &Clock) -> Lane<Paced<Synthetic>> {
    let plan = DraftPlan {
        chain: None,
        branch: 3,
        max_depth: 8,
        cache_bytes: 1 << 15,
        prefix_slots: 2,
        lanes: Lanes::Shared,
    };
    let cost = CostCurve::from_points([(1, DRAFT_MS)]);
    Lane {
        drafter: Drafter::new(
            plan.config(Source::Draft, limits(Rollback::Free), VOCAB),
            cost,
        ),
        // It is right more often than not, and takes as long whatever it decodes.
        model: Paced {
            inner: synthetic(0.5, Rollback::Free),
            cost: CostCurve::from_points([(1, DRAFT_MS), (2, DRAFT_MS)]),
            clock: clock.clone(),
        },
        clock: clock.clone(),
        steps: 0,
    }
}

/// Writes behind each prompt, one after the other.
fn write(play: &Play) -> Played {
    let clock = Clock::default();
    let (mut driver, mut lane) = (driver(play, &clock), lane(&clock));
    let mut written = paced::Written::default();
    for (sequence, prompt) in (1..).map(SequenceId).zip(&play.prompts) {
        let request = Request {
            sequence,
            prompt: prompt.clone(),
            tenant: Tenant::SHARED,
            params: Sampling::default(),
            max_tokens: play.max_tokens,
            stop_tokens: Vec::new(),
            prediction: Vec::new(),
            logprobs: None,
            constraint: None,
            most_candidates: None,
            plain: false,
        };
        driver.scheduler.open(request, clock.now()).unwrap();
        lane.drafter
            .handle(driver.scheduler.introduction(sequence).unwrap());
        run(&mut driver, &mut lane, &mut written);
    }
    Played {
        text: written.text,
        ms: 1e3 * clock.now().as_secs_f64(),
        offered: written.offered,
        states: driver.scheduler.saved_states(),
    }
}

const KINDS: [Rollback; 2] = [Rollback::Checkpoint, Rollback::Bounded { rows: 4 }];

fn long_text(rollback: Rollback, costs: StateMs) -> [Played; 2] {
    [Mode::Plain, Mode::Auto].map(|mode| {
        write(&Play {
            mode,
            rollback,
            costs,
            max_tokens: 1500,
            prompts: vec![vec![1, 2, 3, 4, 5]],
        })
    })
}

#[test]
fn states_that_cost_nothing_are_speculated_with() {
    for rollback in KINDS {
        let [plain, auto] = long_text(rollback, StateMs::default());
        assert_eq!(plain.text, auto.text);
        let ratio = plain.ms / auto.ms;
        assert!(ratio > 1.2, "{rollback:?}: {ratio:.2} times plain decoding");
        assert!(auto.offered > 1000, "{rollback:?}: {}", auto.offered);
    }
}

#[test]
fn where_states_are_dear_automatic_decoding_is_as_fast_as_plain() {
    let dear = [
        StateMs {
            take_back: 100.0,
            ..StateMs::default()
        },
        StateMs {
            keep: 100.0,
            ..StateMs::default()
        },
    ];
    for rollback in KINDS {
        for costs in dear {
            let [plain, auto] = long_text(rollback, costs);
            assert_eq!(plain.text, auto.text);
            let ratio = plain.ms / auto.ms;
            let (keep, back) = (costs.keep, costs.take_back);
            assert!(
                ratio > 0.93,
                "{rollback:?}: {ratio:.3} of plain decoding, if keeping takes {keep} ms and taking \
                 back {back}"
            );
        }
    }
}

#[test]
fn taking_back_is_what_changes_the_number_of_candidates() {
    for rollback in KINDS {
        let [_, cheap] = long_text(rollback, StateMs::default());
        let costs = StateMs {
            take_back: 400.0,
            ..StateMs::default()
        };
        let [_, dear] = long_text(rollback, costs);
        assert!(
            dear.offered * 2 < cheap.offered,
            "{rollback:?}: {} of {}",
            dear.offered,
            cheap.offered
        );
    }
}

/// Prompts that begin alike, each with another end, and each read twice.
fn alike() -> Vec<Vec<Token>> {
    let base: Vec<Token> = (0..80).map(|i| (7 * i + 3) % VOCAB as Token).collect();
    let end = |i: Token| [&base[..], &[i, i + 1, i]].concat();
    (0..4).flat_map(|i| [end(i), end(i)]).collect()
}

#[test]
fn prompts_that_part_go_on_from_where_they_do() {
    for rollback in KINDS {
        let of = |mode, costs| {
            write(&Play {
                mode,
                rollback,
                costs,
                max_tokens: 10,
                prompts: alike(),
            })
        };
        let plain = of(Mode::Plain, StateMs::default());
        // The first is read, the second is the same but for its last tokens, and the third parts
        // from both.
        assert!(
            plain.states.resumed >= 5,
            "{rollback:?}: {:?}",
            plain.states
        );
        let dear = StateMs {
            save: 2000.0,
            ..StateMs::default()
        };
        let dear = of(Mode::Plain, dear);
        assert_eq!(
            plain.text, dear.text,
            "whether states are reused changes no text"
        );
        // Reading 80 tokens takes less than saving a state; that is known after the first.
        assert!(dear.states.saved <= 2, "{rollback:?}: {:?}", dear.states);
        let auto = of(Mode::Auto, StateMs::default());
        assert_eq!(plain.text, auto.text);
    }
}
