//! The machines: a target with its engine, and a host of draft models.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::{DraftInput, DraftPlan, Drafted, Drafter};
use card_core::engine::{Action, Engine, EngineConfig, Memory, Request, Shapes};
use card_core::forward::{Forward, KvOp, Limits, Model};
use card_core::policy::{Lanes, Mode, Outlook, PolicyConfig};
use card_core::sampler::Sampling;
use card_core::synthetic::Synthetic;
use card_core::types::{SequenceId, Source, Tenant, Token};

use crate::language::{self, VOCAB};
use crate::recording::Replay;
use crate::scenario::{self, Scenario};

/// Prompt tokens per forward (as in `card-engine`).
const PREFILL_ROWS: usize = 256;

/// What a forward is at, and when it ends.
pub(crate) struct Running {
    pub(crate) forward: Forward,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

/// A draft model for one target.
pub(crate) struct Seat {
    pub(crate) drafter: Drafter,
    model: Box<dyn Model>,
}

impl Seat {
    pub(crate) fn new(scenario: &Scenario, kind: &scenario::Drafters, noise: f32) -> Self {
        let limits = limits(&kind.forward_ms, scenario);
        let policy = &scenario.policy;
        let chain = policy.mode == Mode::DraftThenVerify;
        let plan = DraftPlan {
            chain: chain.then_some(policy.draft_len),
            branch: policy.branch,
            max_depth: policy.max_depth,
            cache_bytes: policy.cache_bytes,
            parked: scenario.load.parallel,
            lanes: policy.lanes,
        };
        let config = plan.config(Source::Draft, limits, VOCAB);
        let cost = CostCurve::from_points(kind.forward_ms.iter().copied());
        Seat {
            drafter: Drafter::new(config, cost),
            model: match &scenario.recording {
                Some(recording) => Box::new(Replay::new(
                    language::target(scenario.seed, limits),
                    recording.clone(),
                    scenario.load.requests,
                    scenario.load.prompt_tokens,
                )),
                None => Box::new(language::model(scenario.seed, noise, limits)),
            },
        }
    }

    /// Begins a forward; `None` if there is nothing to draft.
    pub(crate) fn begin(&mut self, now: Duration, cost: &CostCurve, slow: f64) -> Option<Running> {
        let mut ops = Vec::new();
        self.drafter.take_ops(&mut ops);
        apply(&mut *self.model, ops);
        let forward = self.drafter.poll(now)?;
        run(&mut *self.model, &forward);
        let end = now + ms(slow * cost.ms(forward.rows.len() as u32));
        Some(Running {
            forward,
            start: now,
            end,
        })
    }

    pub(crate) fn finish(&mut self, running: &Running, now: Duration) -> Drafted {
        self.drafter.complete(&running.forward, &*self.model, now)
    }
}

/// A machine that drafts, for one or several targets in turns.
pub(crate) struct Host {
    pub(crate) kind: usize,
    pub(crate) cost: CostCurve,
    pub(crate) up: bool,
    pub(crate) slow_until: Duration,
    pub(crate) garbage_until: Duration,
    /// By target.
    pub(crate) seats: BTreeMap<usize, Seat>,
    pub(crate) running: Option<(usize, Running)>,
    /// Who had the last turn.
    turn: usize,
}

impl Host {
    pub(crate) fn new(kind: usize, cost: CostCurve) -> Self {
        Host {
            kind,
            cost,
            up: true,
            slow_until: Duration::ZERO,
            garbage_until: Duration::ZERO,
            seats: BTreeMap::new(),
            running: None,
            turn: 0,
        }
    }

    /// Begins the next forward, if one of its targets has something to draft.
    pub(crate) fn begin(&mut self, now: Duration) {
        let slow = if now < self.slow_until { 10.0 } else { 1.0 };
        let after = self.seats.range(self.turn + 1..).map(|s| *s.0);
        let order: Vec<usize> = after
            .chain(self.seats.range(..=self.turn).map(|s| *s.0))
            .collect();
        for node in order {
            let seat = self.seats.get_mut(&node);
            if let Some(running) = seat.and_then(|s| s.begin(now, &self.cost, slow)) {
                self.turn = node;
                self.running = Some((node, running));
                return;
            }
        }
    }
}

/// A machine that runs the target.
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) engine: Engine,
    model: Synthetic,
    cost: CostCurve,
    pub(crate) running: Option<Running>,
    /// It waits for drafts until then.
    pub(crate) wake: Option<Duration>,
    /// Indices of requests.
    pub(crate) queue: VecDeque<usize>,
    pub(crate) active: BTreeMap<SequenceId, usize>,
    /// A drafter on the same lane.
    pub(crate) beside: Option<Seat>,
    beside_cost: CostCurve,
    pub(crate) drafting: Option<Running>,
}

impl Node {
    pub(crate) fn new(scenario: &Scenario, noise: &[f32]) -> Self {
        let policy = &scenario.policy;
        let limits = limits(&scenario.target.forward_ms, scenario);
        let config = EngineConfig {
            limits,
            vocab: VOCAB,
            shapes: Shapes::FREE,
            prefill_rows: PREFILL_ROWS.min(limits.rows),
            cache_bytes: policy.cache_bytes,
            parked: scenario.load.parallel,
            // Made-up text does not repeat itself as real text does.
            free_sources: false,
            trace: false,
            near_tie: 0.0,
        };
        let draft = scenario.drafters.first();
        let draft_cost = draft.map(|d| CostCurve::from_points(d.forward_ms.iter().copied()));
        let draft_cost = draft_cost.unwrap_or_default();
        let settings = PolicyConfig {
            mode: policy.mode,
            lanes: policy.lanes,
            draft_len: policy.draft_len,
        };
        let cost = scenario.target.cost();
        let schedule = card_core::policy::Policy::new(
            settings,
            cost.clone(),
            [draft_cost.clone(), CostCurve::default()],
        );
        let shared = policy.lanes == Lanes::Shared && policy.mode != Mode::Plain;
        let beside = draft.filter(|_| shared);
        let mut engine = Engine::new(config, schedule, Memory::default());
        if beside.is_none() {
            engine.drafter_lost();
        }
        Node {
            up: true,
            engine,
            model: language::target(scenario.seed, limits),
            cost,
            running: None,
            wake: None,
            queue: VecDeque::new(),
            active: BTreeMap::new(),
            beside: beside.map(|kind| Seat::new(scenario, kind, noise[0])),
            beside_cost: draft_cost,
            drafting: None,
        }
    }

    pub(crate) fn load(&self) -> usize {
        self.queue.len() + self.active.len()
    }

    /// Starts a generation; tells who drafts beside it.
    pub(crate) fn open(
        &mut self,
        sequence: SequenceId,
        prompt: Vec<Token>,
        tokens: u32,
        params: Sampling,
        now: Duration,
    ) -> Option<DraftInput> {
        let request = Request {
            sequence,
            prompt,
            tenant: Tenant::SHARED,
            params,
            max_tokens: tokens,
            stop_tokens: Vec::new(),
            prediction: Vec::new(),
            logprobs: None,
            constraint: None,
            plain: false,
        };
        // Checked when the scenario was.
        self.engine.open(request, now).ok()?;
        self.engine.introduction(sequence)
    }

    /// What it does next. Returns whether it began something.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.wake = None;
        let mut outlooks: Vec<Outlook> = match &mut self.beside {
            Some(seat) => seat.drafter.outlook().into_iter().collect(),
            None => Vec::new(),
        };
        loop {
            match self.engine.poll(now, &outlooks) {
                Action::Forward(forward) => {
                    let mut ops = Vec::new();
                    self.engine.take_ops(&mut ops);
                    apply(&mut self.model, ops);
                    run(&mut self.model, &forward);
                    let rows = forward.rows.len().max(forward.pad_to);
                    let end = now + ms(self.cost.ms(rows as u32));
                    self.running = Some(Running {
                        forward,
                        start: now,
                        end,
                    });
                    return;
                }
                Action::Draft(_) => {
                    let cost = &self.beside_cost;
                    let begun = self.beside.as_mut().and_then(|s| s.begin(now, cost, 1.0));
                    if begun.is_some() {
                        self.drafting = begun;
                        return;
                    }
                    // Nothing could be drafted after all: ask again without that choice.
                    outlooks.clear();
                }
                Action::Wait(until) => {
                    self.wake = Some(until);
                    return;
                }
                Action::Idle => return,
            }
        }
    }

    /// The forward that ends now is done.
    pub(crate) fn finish(&mut self, running: &Running, now: Duration) {
        self.engine.complete(&running.forward, &self.model, now);
    }
}

/// What models of this scenario can take.
fn limits(points: &[(u32, f64)], scenario: &Scenario) -> Limits {
    let load = &scenario.load;
    let length = load.prompt_tokens + load.output_tokens as usize + 2;
    Limits {
        context: length as u32,
        cells: 2 * load.parallel * length + 4096,
        rows: points.iter().map(|p| p.0).max().unwrap_or(1) as usize,
        leaves: 64,
    }
}

/// Bookkeeping that is wrong shows as an error of the model: a bug, not a fault.
fn apply(model: &mut dyn Model, ops: Vec<KvOp>) {
    for op in ops {
        if let Err(error) = model.apply(op) {
            panic!("{error}");
        }
    }
}

fn run(model: &mut dyn Model, forward: &Forward) {
    if let Err(error) = model.forward(forward) {
        panic!("{error}");
    }
}

pub(crate) fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}
