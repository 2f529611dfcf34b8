//! A draft model at work: on a thread of its own, or a step at a time on the target's.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::drafter::{DraftInput, DraftPlan, Drafted, Drafter};
use card_core::forward::{KvOp, Model, ModelError};
use card_core::policy::Outlook;
use card_core::types::Source;
use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use crate::Meters;
use crate::link::{TargetEnd, ends};
use crate::pipe::{PipeReceiver, PipeSender};
use crate::pulse::Pulse;

/// Starts a drafter on a thread of its own, for a target elsewhere. Those of one machine
/// take `turns`. It ends when the other end of the channels is dropped.
///
/// # Errors
/// If the system gives no thread.
pub fn start_lane(
    model: Box<dyn Model + Send>,
    plan: &DraftPlan,
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
        plan: &DraftPlan,
        cost: &CostCurve,
        clock: Instant,
    ) -> Self {
        let config = plan.config(source, model.limits(), model.vocab());
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
            let stepped = match pulse.rests() {
                true => Ok(None),
                false => {
                    pulse.begin(meters.clock.elapsed());
                    let stepped = self.step(meters);
                    pulse.end();
                    stepped
                }
            };
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
