//! A draft model at work: on a thread of its own, or a step at a time on the target's.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::drafter::{DraftInput, Drafted, Drafter, DrafterConfig};
use card_core::forward::{KvOp, Model, ModelError};
use card_core::policy::{Mode, Outlook};
use card_core::types::Source;
use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use crate::drafters::Pulse;
use crate::drafters::{TargetEnd, ends};
use crate::pipe::{PipeReceiver, PipeSender};
use crate::{Meters, Options};

/// How a drafter shall draft for a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LanePlan {
    /// One chain, of this length; else a tree.
    pub chain: Option<u32>,
    /// Children proposed for each node of a tree.
    pub branch: usize,
    /// How far past the last committed token a tree goes.
    pub max_depth: u32,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// Finished sequences kept for prompts that begin alike.
    pub parked: usize,
}

impl LanePlan {
    /// What these options ask of a drafter.
    pub fn of(options: &Options) -> Self {
        let chain = options.mode == Mode::DraftThenVerify;
        LanePlan {
            chain: chain.then_some(options.draft_len),
            branch: options.branch,
            max_depth: options.max_depth,
            cache_bytes: options.cache_bytes,
            parked: options.parked,
        }
    }
}

/// Starts a drafter on a thread of its own, for a target elsewhere. Those of one machine
/// take `turns`. It ends when the other end of the channels is dropped.
///
/// # Errors
/// If the system gives no thread.
pub fn start_lane(
    model: Box<dyn Model + Send>,
    plan: &LanePlan,
    turns: Arc<Mutex<()>>,
) -> std::io::Result<TargetEnd> {
    let meters = Meters::new();
    let mut lane = DraftLane::new(
        model,
        Source::Draft,
        plan,
        &CostCurve::default(),
        meters.clock,
    );
    lane.turns = Some(turns);
    let (near, mut far) = ends(Duration::ZERO);
    std::thread::Builder::new()
        .name("card-drafter".into())
        .spawn(move || lane.run(&mut far.inbox, &far.outbox, &meters, &Pulse::default()))?;
    Ok(near)
}

pub(crate) struct DraftLane {
    /// Taken for each step, if others use the same machine.
    turns: Option<Arc<Mutex<()>>>,
    model: Box<dyn Model + Send>,
    drafter: Drafter,
    clock: Instant,
    ops: Vec<KvOp>,
}

impl DraftLane {
    pub(crate) fn new(
        model: Box<dyn Model + Send>,
        source: Source,
        plan: &LanePlan,
        cost: &CostCurve,
        clock: Instant,
    ) -> Self {
        let tree = plan.chain.is_none();
        let config = DrafterConfig {
            source,
            branch: if tree { plan.branch } else { 1 },
            max_depth: plan.chain.unwrap_or(plan.max_depth),
            min_reach: match tree {
                true => DrafterConfig::least_reach(plan.cache_bytes),
                false => 0.0,
            },
            cache_bytes: plan.cache_bytes,
            limits: model.limits(),
            vocab: model.vocab(),
            parked: plan.parked,
        };
        DraftLane {
            turns: None,
            drafter: Drafter::new(config, cost.clone()),
            model,
            clock,
            ops: Vec::new(),
        }
    }

    pub(crate) fn handle(&mut self, input: DraftInput) {
        self.drafter.handle(input);
    }

    pub(crate) fn outlook(&mut self) -> Option<Outlook> {
        self.drafter.outlook()
    }

    /// One draft forward; `None` if there is nothing to draft.
    pub(crate) fn step(&mut self, meters: &Meters) -> Result<Option<Drafted>, ModelError> {
        let start = self.clock.elapsed();
        self.drafter.take_ops(&mut self.ops);
        for op in self.ops.drain(..) {
            self.model.apply(op)?;
        }
        let Some(forward) = self.drafter.poll(start) else {
            return Ok(None);
        };
        {
            let _turn = self.turns.as_ref().map(|t| t.lock());
            self.model.forward(&forward)?;
        }
        let end = self.clock.elapsed();
        let drafted = self.drafter.complete(&forward, &*self.model, end);
        meters.draft(end.saturating_sub(start));
        Ok(Some(drafted))
    }

    /// The lane's thread: drafts until the engine hangs up or the model fails. Either way
    /// the channel to the engine closes, which tells it.
    pub(crate) fn run(
        mut self,
        inbox: &mut PipeReceiver<DraftInput>,
        outbox: &PipeSender<Drafted>,
        meters: &Meters,
        pulse: &Pulse,
    ) {
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(input) => self.handle(input),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            pulse.begin(meters.clock.elapsed());
            let stepped = self.step(meters);
            pulse.end();
            match stepped {
                Ok(Some(drafted)) => {
                    // A full channel holds the drafter back, never the target.
                    if !outbox.send(drafted) {
                        return;
                    }
                }
                Ok(None) => match inbox.recv_timeout(Duration::from_secs(3600)) {
                    Ok(input) => self.handle(input),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                },
                Err(error) => {
                    tracing::warn!("a draft model fails: {error}");
                    return;
                }
            }
        }
    }
}
