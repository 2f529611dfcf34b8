//! A draft model at work: on a thread of its own, or one step at a time on the target's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::forward::{KvOp, Model, ModelError};
use card_core::protocol::{DraftInput, DraftPlan, Drafted, Outlook};
use card_core::types::Source;
use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use super::link::{DraftEnd, TargetEnd, ends};
use crate::meters::Meters;
use crate::pulse::Pulse;

/// Stack of a thread that may look into a grammar, in bytes: what that takes recurses as deep as
/// the grammar's patterns nest. The system commits only what is used.
pub(crate) const LANE_STACK: usize = 32 << 20;

/// Starts a drafter on a thread of its own, for a target on another machine. The drafters of
/// one machine take `turns`. The thread ends when the other end of the channels is dropped.
///
/// # Errors
/// If the system gives no thread.
pub fn start_lane(
    model: Box<dyn Model + Send>,
    plan: &DraftPlan,
    turns: Arc<Mutex<()>>,
) -> std::io::Result<TargetEnd> {
    let meters = Arc::new(Meters::new());
    let cost = CostCurve::default();
    let mut lane = DraftLane::new(model, Source::Draft, plan, &cost, meters);
    lane.turns = Some(turns);
    let (near, mut far) = ends(Duration::ZERO);
    std::thread::Builder::new()
        .name("card-drafter".into())
        .spawn(move || lane.run(&mut far, &Pulse::default()))?;
    Ok(near)
}

/// A draft model with its drafter.
pub(super) struct DraftLane {
    /// Held during each forward, if others use the same machine.
    turns: Option<Arc<Mutex<()>>>,
    model: Box<dyn Model + Send>,
    drafter: Drafter,
    meters: Arc<Meters>,
    /// Whether this is the first draft model, whose forwards are remembered.
    first: bool,
    /// Room for the KV changes of one forward; empty between two steps.
    ops: Vec<KvOp>,
}

impl DraftLane {
    /// A lane that has nothing to do yet. `cost` is what is known of the model's forwards.
    pub(super) fn new(
        model: Box<dyn Model + Send>,
        source: Source,
        plan: &DraftPlan,
        cost: &CostCurve,
        meters: Arc<Meters>,
    ) -> Self {
        let config = plan.config(source, model.limits(), model.vocab());
        DraftLane {
            turns: None,
            drafter: Drafter::new(config, cost.clone()),
            model,
            meters,
            first: source == Source::Draft,
            ops: Vec::new(),
        }
    }

    /// Takes one message of the target.
    pub(super) fn handle(&mut self, input: DraftInput) {
        self.drafter.handle(input);
    }

    /// What the drafter would do next, if anything.
    pub(super) fn outlook(&mut self) -> Option<Outlook> {
        self.drafter.outlook()
    }

    /// One draft forward; `None` if there is nothing to draft.
    ///
    /// # Errors
    /// If the model fails. Nobody knows what its KV cache holds then, so the lane is of no use
    /// any more.
    pub(super) fn step(&mut self) -> Result<Option<Drafted>, ModelError> {
        let start = self.meters.now();
        self.apply_due()?;
        let Some(forward) = self.drafter.poll(start) else {
            return Ok(None);
        };
        {
            let _turn = self.turns.as_ref().map(|t| t.lock());
            self.model.forward(&forward)?;
        }
        let end = self.meters.now();
        let mut drafted = self.drafter.complete(&forward, &*self.model, end);
        // Making proposals of logits is a part of what a step costs: of a large vocabulary, or where a
        // grammar has a say, no small one.
        drafted.elapsed = self.meters.now().saturating_sub(start);
        let time = end.saturating_sub(start);
        self.meters.draft(time);
        if self.first {
            self.meters.draft_forward(&forward, time);
        }
        Ok(Some(drafted))
    }

    /// Carries out the changes of the KV cache that are due, which a step does by itself.
    ///
    /// # Errors
    /// If the model fails, as with [`DraftLane::step`].
    pub(super) fn apply_due(&mut self) -> Result<(), ModelError> {
        self.drafter.take_ops(&mut self.ops);
        for op in self.ops.drain(..) {
            self.model.apply(op)?;
        }
        Ok(())
    }

    /// The lane's thread: drafts until the engine hangs up or the model fails. Either way
    /// the channel to the engine closes, which tells the engine.
    pub(super) fn run(mut self, end: &mut DraftEnd, pulse: &Pulse) {
        while self.hear(end) {
            match self.step_unless_gated(pulse) {
                Ok(Some(drafted)) => {
                    // A full channel holds the drafter back, never the target.
                    if !end.outbox.send(drafted) {
                        return;
                    }
                }
                Ok(None) => match end.inbox.recv_timeout(Duration::from_secs(3600)) {
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

    /// Takes every message that has arrived; `false` if there will be none any more.
    fn hear(&mut self, end: &mut DraftEnd) -> bool {
        loop {
            match end.inbox.try_recv() {
                Ok(input) => self.handle(input),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// A step, with a heartbeat around it; none while the gate is shut, but what is over is freed.
    fn step_unless_gated(&mut self, pulse: &Pulse) -> Result<Option<Drafted>, ModelError> {
        if pulse.is_gated() {
            pulse.begin(self.meters.now());
            let applied = self.apply_due();
            pulse.end();
            return applied.map(|()| None);
        }
        pulse.begin(self.meters.now());
        let stepped = self.step();
        pulse.end();
        stepped
    }
}
