//! Runs scheduler and drafter on made-up models in virtual time.

mod alternate;
mod device;
mod lanes;
mod models;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use card_core::constraint::{Constraint, TextGrammar};
use card_core::cost::CostCurve;
use card_core::drafter::DrafterConfig;
use card_core::driver::{Driver, NextStep};
use card_core::forward::{Forward, Limits, Model, Rollback};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{DraftInput, Drafted, Expansion, Lanes};
use card_core::sampler::Sampling;
use card_core::scheduler::{
    Finish, Learned, Output, Request, Round, Scheduler, SchedulerConfig, Shapes,
};
use card_core::sources::Corrections;
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{Prob, Rows, SequenceId, Source, Tenant, Token};

use alternate::Alternate;
pub use alternate::ScoutKind;
use device::VirtualDevice;
use lanes::{OnTheLane, VirtualLane};
use models::{Checked, KeptStates, SyntheticHead};

pub const VOCAB: usize = 23;
pub const LIMITS: Limits = Limits {
    context: 400,
    cells: 1200,
    rows: 24,
    leaves: 8,
    rollback: Rollback::Free,
};

#[derive(Clone, Debug)]
pub struct Setup {
    pub mode: Mode,
    pub lanes: Lanes,
    pub shapes: Shapes,
    pub params: Sampling,
    /// Noise of the draft model; `None` is no drafter at all.
    pub draft_noise: Option<f32>,
    /// Noise of the target's head; `None` is a target without one.
    pub head_noise: Option<f32>,
    pub head_ms: f64,
    /// How the target and the draft model take tokens back.
    pub rollback: [Rollback; 2],
    pub draft_len: u32,
    pub branch: usize,
    pub cache_nodes: usize,
    pub target_ms: Vec<(u32, f64)>,
    /// What a forward takes of that while no drafter is at work.
    pub alone: f64,
    pub draft_ms: f64,
    /// What forwards of the draft model take by rows, in place of `draft_ms` whatever they have.
    pub draft_points: Vec<(u32, f64)>,
    /// What a forward of the target and of the draft model takes longer if it has another number of
    /// rows than the one before.
    pub shape_change_ms: [f64; 2],
    /// The target's logits depend on the block of so many cells in which a forward ends; 0 if they
    /// do not.
    pub cell_block: usize,
    /// Prompts, one sequence each.
    pub prompts: Vec<Vec<Token>>,
    pub max_tokens: u32,
    pub stop_tokens: Vec<Token>,
    /// Random expansions thrown at the scheduler, with this seed.
    pub garbage: Option<u64>,
    /// Prompt lookup, corrections and this predicted text propose too.
    pub lookup: bool,
    pub prediction: Vec<Token>,
    /// Nothing shall be proposed for the sequences.
    pub plain: bool,
    /// The drafter dies at this time.
    pub dies: Option<Duration>,
    /// Only these tokens may be written, the others in turn with them.
    pub allowed: Option<Vec<Token>>,
    /// How those who propose tokens look ahead under that grammar; `None` if they do not.
    pub scouts: Option<ScoutKind>,
    /// The drafter is on another machine, and hears of no grammar.
    pub far: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            mode: Mode::Plain,
            lanes: Lanes::Disjoint,
            shapes: Shapes::FREE,
            params: Sampling::default(),
            draft_noise: Some(0.5),
            head_noise: None,
            head_ms: 0.5,
            rollback: [Rollback::Free; 2],
            draft_len: 4,
            branch: 3,
            cache_nodes: 300,
            target_ms: vec![(1, 10.0), (8, 12.0), (24, 20.0)],
            alone: 1.0,
            draft_ms: 2.0,
            draft_points: Vec::new(),
            shape_change_ms: [0.0; 2],
            cell_block: 0,
            prompts: vec![vec![1, 2, 3, 4, 5]],
            max_tokens: 60,
            stop_tokens: Vec::new(),
            garbage: None,
            lookup: false,
            prediction: Vec::new(),
            plain: false,
            dies: None,
            allowed: None,
            scouts: None,
            far: false,
        }
    }
}

#[derive(Debug, Default)]
pub struct Transcript {
    pub text: BTreeMap<u64, Vec<Token>>,
    pub finish: BTreeMap<u64, Finish>,
    pub rounds: Vec<Round>,
    pub time: Duration,
    /// Positions of the hidden states that the target kept, by sequence.
    pub kept: BTreeMap<u64, BTreeSet<u32>>,
}

impl Transcript {
    pub fn hit_rate(&self) -> f64 {
        let hits: Vec<bool> = self.rounds.iter().filter_map(|r| r.hit).collect();
        hits.iter().filter(|h| **h).count() as f64 / hits.len().max(1) as f64
    }

    pub fn mean_accepted(&self) -> f64 {
        let rounds: Vec<_> = self.rounds.iter().filter(|r| !r.prefill).collect();
        let tokens: usize = rounds.iter().map(|r| r.tokens.len()).sum();
        tokens as f64 / rounds.len().max(1) as f64
    }
}

pub fn model(noise: f32) -> Synthetic {
    model_with(noise, Rollback::Free)
}

/// A model that takes tokens back like this.
pub fn model_with(noise: f32, rollback: Rollback) -> Synthetic {
    made_up(noise, 99, rollback)
}

/// A model whose noise is another one than that of models of another `noise_seed`.
fn made_up(noise: f32, noise_seed: u64, rollback: Rollback) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise,
        noise_seed,
        limits: limits(rollback),
    })
}

fn limits(rollback: Rollback) -> Limits {
    Limits { rollback, ..LIMITS }
}

/// Runs every prompt of the setup to its end.
pub fn run(setup: &Setup) -> Transcript {
    let mut pair = VirtualPair::new(setup);
    for (i, prompt) in setup.prompts.iter().enumerate() {
        pair.open(SequenceId(i as u64), prompt);
    }
    pair.run();
    pair.end()
}

/// Runs the prompts of the setup as turns of one conversation, each a sequence: a prompt is all
/// that was written so far and the turn.
pub fn converse(setup: &Setup) -> Transcript {
    let mut pair = VirtualPair::new(setup);
    let mut text: Vec<Token> = Vec::new();
    for (i, turn) in (0..).zip(&setup.prompts) {
        text.extend(turn);
        pair.rest();
        pair.open(SequenceId(i), &text);
        pair.run();
        text.extend(pair.out.text.get(&i).into_iter().flatten());
    }
    pair.end()
}

/// Runs the prompts of the setup one after the other, each a sequence. Returns what came of it, and
/// how much of the time went by after the first one: that of a schedule that knows its devices.
pub fn settled(setup: &Setup) -> (Transcript, Duration) {
    let mut pair = VirtualPair::new(setup);
    let mut first = Duration::ZERO;
    for (i, prompt) in (0..).zip(&setup.prompts) {
        pair.rest();
        pair.open(SequenceId(i), prompt);
        pair.run();
        if i == 0 {
            first = pair.now;
        }
    }
    let out = pair.end();
    let time = out.time.saturating_sub(first);
    (out, time)
}

/// A driver and a drafter, and what they are doing.
struct VirtualPair<'a> {
    setup: &'a Setup,
    driver: Driver,
    lane: VirtualLane,
    /// The target's head, which takes turns with the target.
    head: VirtualLane,
    kept: KeptStates,
    target_device: VirtualDevice,
    /// Whether the target was told that the drafters on other lanes rest.
    drafters_rest: Arc<AtomicBool>,
    now: Duration,
    /// The target's forward that runs, and when it ends.
    verifying: Option<(Forward, Duration)>,
    garbage: Option<u64>,
    out: Transcript,
}

impl<'a> VirtualPair<'a> {
    fn new(setup: &'a Setup) -> Self {
        let target_cost = CostCurve::from_points(setup.target_ms.iter().copied());
        let [target_change, draft_change] = setup.shape_change_ms;
        let (draft_cost, draft_device) = if setup.draft_points.is_empty() {
            let cost = CostCurve::from_points([(1, setup.draft_ms), (8, setup.draft_ms * 2.0)]);
            (cost.clone(), VirtualDevice::flat(cost, draft_change))
        } else {
            let cost = CostCurve::from_points(setup.draft_points.iter().copied());
            (cost.clone(), VirtualDevice::new(cost, draft_change))
        };
        let head_cost = CostCurve::from_points([(1, setup.head_ms), (8, setup.head_ms * 1.5)]);
        let mut scheduler = scheduler(setup, &target_cost, &draft_cost, &head_cost);
        let [target_rollback, draft_rollback] = setup.rollback;
        let draft = setup
            .draft_noise
            .map(|noise| Box::new(model_with(noise, draft_rollback)) as Box<dyn Model>);
        if draft.is_none() {
            scheduler.drafter_lost();
        }
        let kept = KeptStates::default();
        let head = setup.head_noise.map(|noise| {
            Box::new(SyntheticHead {
                inner: made_up(noise, 7, Rollback::Free),
                kept: kept.clone(),
                // A prompt that begins like another one is not read by the target again.
                knows_all: setup.prompts.len() == 1,
            }) as Box<dyn Model>
        });
        let drafters_rest = Arc::new(AtomicBool::new(false));
        let target = Checked {
            drafters_rest: drafters_rest.clone(),
            inner: model_with(0.0, target_rollback),
            max_rows: setup.shapes.max_rows,
            last: Forward::default(),
            head: head.is_some(),
            kept: kept.clone(),
            cell_block: setup.cell_block,
            moved: BTreeMap::new(),
        };
        let of_draft = drafter_config(setup);
        let of_head = DrafterConfig {
            source: Source::Head,
            limits: LIMITS,
            lanes: Lanes::Shared,
            ..of_draft
        };
        VirtualPair {
            setup,
            driver: Driver::new(scheduler, Box::new(target)),
            drafters_rest,
            lane: VirtualLane::new(of_draft, draft, draft_cost, draft_device),
            head: VirtualLane::new(
                of_head,
                head,
                head_cost.clone(),
                VirtualDevice::flat(head_cost, 0.0),
            ),
            kept,
            target_device: VirtualDevice::new(target_cost, target_change),
            now: Duration::ZERO,
            verifying: None,
            garbage: setup.garbage,
            out: Transcript::default(),
        }
    }

    /// Runs every sequence to its end.
    fn run(&mut self) {
        for _ in 0..100_000 {
            if self.step().is_break() {
                break;
            }
        }
        assert_eq!(self.driver.scheduler.running(), 0, "every sequence ends");
    }

    /// What came of it.
    fn end(mut self) -> Transcript {
        self.out.time = self.now;
        self.out.kept = self.kept.lock().unwrap().clone();
        self.out
    }

    /// Lets drafter and head finish their forwards and hear all news.
    fn rest(&mut self) {
        let drafting = [&self.lane.drafting, &self.head.drafting];
        for (_, end) in drafting.into_iter().flatten() {
            self.now = self.now.max(*end);
        }
        self.end_forwards();
        self.lane.listen();
        self.head.listen();
    }

    /// Tells drafter and head something; they hear it after their forwards.
    fn inform(&mut self, input: &DraftInput) {
        for lane in [&mut self.lane, &mut self.head] {
            lane.news.push(input.clone());
        }
    }

    fn open(&mut self, sequence: SequenceId, prompt: &[Token]) {
        let setup = self.setup;
        let constraint = setup.allowed.as_ref();
        let constraint = constraint.map(|only| Alternate::new(only, setup.scouts));
        let grammar = constraint.as_ref().and_then(Constraint::grammar);
        let grammar = grammar.filter(|_| !setup.far).map(|grammar| TextGrammar {
            grammar,
            begins: prompt.len() as u32,
        });
        let request = Request {
            sequence,
            prompt: prompt.to_vec(),
            tenant: Tenant::SHARED,
            params: setup.params.clone(),
            max_tokens: setup.max_tokens,
            stop_tokens: setup.stop_tokens.clone(),
            prediction: setup.prediction.clone(),
            logprobs: None,
            plain: setup.plain,
            most_candidates: None,
            constraint: constraint.map(|c| Box::new(c) as _),
        };
        self.driver.scheduler.open(request, self.now).unwrap();
        if setup.plain {
            // As an engine does: nobody hears of it.
            self.lane
                .drafter
                .handle(opening(setup, sequence, prompt, grammar));
            return;
        }
        for lane in [&mut self.lane, &mut self.head] {
            lane.drafter
                .handle(opening(setup, sequence, prompt, grammar.clone()));
        }
    }

    /// Begins what can begin now, and ends what ends next. Breaks if there is nothing to do.
    fn step(&mut self) -> ControlFlow<()> {
        self.lane.listen();
        self.head.listen();
        let free = self.lane.drafting.is_none();
        let shared = self.lane.shared;
        let mut wait = None;
        if self.verifying.is_none() && (!shared || free) && self.head.drafting.is_none() {
            wait = self.begin_round()?;
        }
        if !shared && free && !self.driver.scheduler.drafters_gated() {
            self.lane.begin(self.now);
        }
        let times = [
            self.verifying.as_ref().map(|v| v.1),
            self.lane.drafting.as_ref().map(|d| d.1),
            self.head.drafting.as_ref().map(|d| d.1),
            wait,
        ];
        let next = times.into_iter().flatten().min();
        self.now = self.now.max(next.expect("something happens next"));
        self.end_forwards();
        for output in self.driver.scheduler.take_outputs() {
            self.hear(output);
        }
        ControlFlow::Continue(())
    }

    /// Does what the driver says; returns until when it waits, if it does.
    fn begin_round(&mut self) -> ControlFlow<(), Option<Duration>> {
        let now = self.now;
        if let Some(seed) = &mut self.garbage {
            throw_garbage(&mut self.driver.scheduler, seed, now);
        }
        let mut lane = OnTheLane([&mut self.lane, &mut self.head]);
        match self.driver.next_step(&|| now, &mut lane) {
            NextStep::Decode(forward) => self.begin_forward(forward),
            NextStep::Drafting => {}
            NextStep::Wait(until) => return ControlFlow::Continue(Some(until)),
            NextStep::Idle => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(None)
    }

    fn begin_forward(&mut self, forward: Forward) {
        self.driver.decode(&forward).unwrap();
        let rest = self.drafters_rest.load(Ordering::Relaxed);
        let part = if rest || self.lane.model.is_none() {
            self.setup.alone
        } else {
            1.0
        };
        let end = self.now + self.target_device.takes(&forward, part);
        self.verifying = Some((forward, end));
    }

    /// Ends the forwards whose time is over; the drafter may die first.
    fn end_forwards(&mut self) {
        let now = self.now;
        let scheduler = &mut self.driver.scheduler;
        for lane in [&mut self.lane, &mut self.head] {
            if let Some(drafted) = lane.end(now) {
                scheduler.drafted(&drafted, now);
            }
        }
        if self.setup.dies.is_some_and(|at| now >= at) && self.lane.model.take().is_some() {
            self.lane.drafting = None;
            scheduler.drafter_lost();
        }
        if let Some((forward, _)) = self.verifying.take_if(|v| v.1 <= now) {
            self.driver.complete(&forward, now);
        }
    }

    /// Passes on what the scheduler tells.
    fn hear(&mut self, output: Output) {
        let out = &mut self.out;
        match output {
            Output::Tokens(sequence, from, tokens) => {
                out.text.entry(sequence.0).or_default().extend(&tokens);
                self.inform(&DraftInput::Commit {
                    sequence,
                    from,
                    tokens,
                });
            }
            Output::Round(round) => out.rounds.push(*round),
            Output::Failed(_, why) => panic!("{why}"),
            Output::Finished(sequence, reason) => {
                out.finish.insert(sequence.0, reason);
                self.inform(&DraftInput::Close { sequence });
            }
        }
    }
}

fn opening(
    setup: &Setup,
    sequence: SequenceId,
    prompt: &[Token],
    grammar: Option<TextGrammar>,
) -> DraftInput {
    DraftInput::Open {
        sequence,
        tenant: Tenant::SHARED,
        tokens: prompt.to_vec(),
        params: setup.params.clone(),
        end: LIMITS.context,
        grammar,
    }
}

fn scheduler(setup: &Setup, target: &CostCurve, draft: &CostCurve, head: &CostCurve) -> Scheduler {
    let config = PolicyConfig {
        mode: setup.mode,
        lanes: setup.lanes,
        draft_len: setup.draft_len,
    };
    let drafts = [draft.clone(), CostCurve::default()];
    let mut policy = Policy::new(config, target.clone(), drafts).with_head(head.clone());
    if setup.alone < 1.0 {
        let alone = setup.target_ms.iter().map(|p| (p.0, setup.alone * p.1));
        policy = policy.slowed_from(CostCurve::from_points(alone));
    }
    let config = SchedulerConfig {
        limits: limits(setup.rollback[0]),
        vocab: VOCAB,
        shapes: setup.shapes,
        prefill_rows: 7,
        cache_bytes: setup.cache_nodes * card_core::cache::BYTES_PER_NODE,
        prefix_slots: 1,
        lookup: setup.lookup,
        trace: true,
        near_tie: 0.01,
    };
    let learned = Learned {
        corrections: setup.lookup.then(|| Corrections::new(1 << 14, 0)),
        ..Learned::default()
    };
    Scheduler::new(config, policy, learned)
}

fn drafter_config(setup: &Setup) -> DrafterConfig {
    let chain = setup.mode == Mode::DraftThenVerify;
    DrafterConfig {
        source: Source::Draft,
        branch: if chain { 1 } else { setup.branch },
        max_depth: if chain { setup.draft_len } else { 12 },
        min_reach: 0.01,
        cache_bytes: setup.cache_nodes * card_core::cache::BYTES_PER_NODE,
        limits: limits(setup.rollback[1]),
        vocab: VOCAB,
        prefix_slots: 1,
        lanes: setup.lanes,
    }
}

fn throw_garbage(scheduler: &mut Scheduler, seed: &mut u64, now: Duration) {
    let mut draw = |n: u64| {
        *seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*seed >> 33) % n
    };
    let expansions = (0..draw(6))
        .map(|_| {
            let root = draw(80) as u32;
            Expansion {
                sequence: SequenceId(draw(3)),
                root,
                path: (0..draw(4)).map(|_| draw(30) as Token).collect(),
                children: (0..draw(5))
                    .map(|_| {
                        let token = draw(40) as Token;
                        (token, Prob::clamped(draw(150) as f32 / 100.0 - 0.2))
                    })
                    .collect(),
            }
        })
        .collect();
    let drafted = Drafted {
        source: Source::Draft2,
        expansions,
        rows: Rows::clamped(0),
        started: Duration::ZERO,
        elapsed: Duration::ZERO,
    };
    scheduler.drafted(&drafted, now);
}
