//! A machine that runs a target, with the production scheduler and driver.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::driver::{Driver, NextStep, SharedLane};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{DraftInput, Drafted, Lanes, Outlook};
use card_core::scheduler::{Learned, Request, Scheduler, SchedulerConfig, Shapes};
use card_core::types::{SequenceId, Source, Tenant};

use crate::forwards::{RunningForward, limits, ms};
use crate::language::{self, VOCAB};
use crate::requests::Remainder;
use crate::scenario::Scenario;
use crate::seat::Seat;

/// Prompt tokens per forward (as in `card-engine`).
const PREFILL_ROWS: usize = 256;

/// A machine that runs a target.
pub(crate) struct Machine {
    /// Whether its process runs.
    pub(crate) up: bool,
    /// The scheduler, with the target's model.
    pub(crate) driver: Driver,
    /// Milliseconds of a target forward, by rows.
    cost: CostCurve,
    /// The forward the target is at.
    running: Option<RunningForward>,
    /// The target waits for drafts until then.
    wake: Option<Duration>,
    /// Requests that wait for room.
    pub(crate) queue: VecDeque<usize>,
    /// Requests of the sequences that run.
    pub(crate) active: BTreeMap<SequenceId, usize>,
    /// A drafter on the target's lane.
    beside: Option<LaneMate>,
}

/// A drafter that takes turns with the target on one lane.
struct LaneMate {
    seat: Seat,
    cost: CostCurve,
    /// The draft forward the lane is at.
    drafting: Option<RunningForward>,
}

/// Time of the forwards that are over.
pub(crate) struct BusyTime {
    pub(crate) target: Duration,
    pub(crate) draft: Duration,
}

impl Machine {
    /// A machine with nothing to do. `noise` are the draft models' noises, by kind.
    pub(crate) fn new(scenario: &Scenario, noise: &[f32]) -> Self {
        let policy = &scenario.policy;
        let shared = policy.lanes == Lanes::Shared && policy.mode != Mode::Plain;
        let mate = scenario.drafters.first().filter(|_| shared);
        let beside = mate.map(|spec| LaneMate {
            seat: Seat::new(scenario, spec, noise[0]),
            cost: spec.cost(),
            drafting: None,
        });
        let mut scheduler = scheduler(scenario);
        if beside.is_none() {
            scheduler.drafter_lost();
        }
        let limits = limits(&scenario.target.forward_ms, scenario);
        let model = language::target(scenario.seed, limits);
        Machine {
            up: true,
            driver: Driver::new(scheduler, Box::new(model)),
            cost: scenario.target.cost(),
            running: None,
            wake: None,
            queue: VecDeque::new(),
            active: BTreeMap::new(),
            beside,
        }
    }

    /// Requests that run or wait here.
    pub(crate) fn load(&self) -> usize {
        self.queue.len() + self.active.len()
    }

    /// Whether a drafter shares the target's lane.
    pub(crate) fn has_mate(&self) -> bool {
        self.beside.is_some()
    }

    /// Whether its lane is free.
    pub(crate) fn is_free(&self) -> bool {
        let drafting = self.beside.as_ref().is_some_and(|m| m.drafting.is_some());
        self.running.is_none() && !drafting
    }

    /// When something happens here next.
    pub(crate) fn next(&self) -> Option<Duration> {
        let drafting = self.beside.as_ref().and_then(|m| m.drafting.as_ref());
        let running = self.running.iter().chain(drafting);
        running.map(|r| r.end).chain(self.wake).min()
    }

    /// Starts a generation. Returns what its drafters are to be told.
    pub(crate) fn open(
        &mut self,
        sequence: SequenceId,
        what: Remainder,
        now: Duration,
    ) -> Option<DraftInput> {
        let request = Request {
            sequence,
            prompt: what.prompt,
            tenant: Tenant::SHARED,
            params: what.params,
            max_tokens: what.tokens,
            stop_tokens: Vec::new(),
            prediction: Vec::new(),
            logprobs: None,
            constraint: None,
            plain: false,
            most_candidates: None,
        };
        // Checked when the scenario was.
        self.driver.scheduler.open(request, now).ok()?;
        self.driver.scheduler.introduction(sequence)
    }

    /// Tells the drafter that shares the lane, if there is one.
    pub(crate) fn tell_mate(&mut self, input: &DraftInput) {
        if let Some(mate) = &mut self.beside {
            mate.seat.drafter.handle(input.clone());
        }
    }

    /// Does what the driver says next.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.wake = None;
        match self.driver.next_step(&|| now, &mut self.beside) {
            NextStep::Decode(forward) => {
                // A bookkeeping mistake shows as an error of the model: a bug, and no fault of
                // the scenario.
                if let Err(error) = self.driver.decode(&forward) {
                    panic!("{error}");
                }
                let rows = forward.rows.len().max(forward.pad_to);
                let end = now + ms(self.cost.ms(rows as u32));
                self.running = Some(RunningForward {
                    forward,
                    start: now,
                    end,
                });
            }
            NextStep::Wait(until) => self.wake = Some(until),
            NextStep::Drafting | NextStep::Idle => {}
        }
    }

    /// Ends the forwards that are over, and returns what time they took.
    pub(crate) fn finish(&mut self, now: Duration) -> BusyTime {
        let mut busy = BusyTime {
            target: Duration::ZERO,
            draft: Duration::ZERO,
        };
        if let Some(done) = self.running.take_if(|r| r.end <= now) {
            self.driver.complete(&done.forward, now);
            busy.target = done.time();
        }
        if let Some(mate) = &mut self.beside
            && let Some(done) = mate.drafting.take_if(|r| r.end <= now)
        {
            let drafted: Drafted = mate.seat.finish(&done, now);
            self.driver.scheduler.drafted(&drafted, now);
            busy.draft = done.time();
        }
        busy
    }
}

impl SharedLane for LaneMate {
    fn outlooks(&mut self) -> Vec<Outlook> {
        self.seat.drafter.outlook().into_iter().collect()
    }

    /// Begins a draft forward. [`Machine::finish`] reports it when it is over.
    fn draft(&mut self, _source: Source, now: Duration, _scheduler: &mut Scheduler) -> bool {
        self.drafting = self.seat.begin(now, &self.cost, 1.0);
        self.drafting.is_some()
    }
}

/// The scheduler of this scenario's targets.
fn scheduler(scenario: &Scenario) -> Scheduler {
    let policy = &scenario.policy;
    let limits = limits(&scenario.target.forward_ms, scenario);
    let config = SchedulerConfig {
        limits,
        vocab: VOCAB,
        shapes: Shapes::FREE,
        prefill_rows: PREFILL_ROWS.min(limits.rows),
        cache_bytes: policy.cache_bytes,
        prefix_slots: scenario.load.parallel,
        // Made-up text does not repeat itself as real text does.
        lookup: false,
        trace: false,
        near_tie: 0.0,
    };
    let settings = PolicyConfig {
        mode: policy.mode,
        lanes: policy.lanes,
        draft_len: policy.draft_len,
    };
    let draft_cost = scenario.drafters.first().map(|d| d.cost());
    let draft_costs = [draft_cost.unwrap_or_default(), CostCurve::default()];
    let schedule = Policy::new(settings, scenario.target.cost(), draft_costs);
    Scheduler::new(config, schedule, Learned::default())
}
