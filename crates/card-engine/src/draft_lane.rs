//! A draft model at work: on a thread of its own, or a step at a time on the target's.

use std::time::{Duration, Instant};

use card_core::drafter::{DraftInput, Drafted, Drafter, DrafterConfig};
use card_core::forward::{KvOp, Model, ModelError};
use card_core::policy::{Mode, Outlook};
use card_core::types::Source;
use crossbeam_channel::{RecvTimeoutError, TryRecvError};

use crate::drafters::Pulse;
use crate::pipe::{PipeReceiver, PipeSender};
use crate::{Meters, Options};

/// Less likely candidates are not worth a draft forward.
const MIN_REACH: f32 = 0.02;

pub(crate) struct DraftLane {
    model: Box<dyn Model + Send>,
    drafter: Drafter,
    clock: Instant,
    ops: Vec<KvOp>,
}

impl DraftLane {
    pub(crate) fn new(
        model: Box<dyn Model + Send>,
        source: Source,
        options: &Options,
        clock: Instant,
    ) -> Self {
        let chain = options.mode == Mode::DraftThenVerify;
        let config = DrafterConfig {
            source,
            branch: if chain { 1 } else { options.branch },
            max_depth: if chain {
                options.draft_len
            } else {
                options.max_depth
            },
            min_reach: if chain { 0.0 } else { MIN_REACH },
            cache_bytes: options.cache_bytes,
            limits: model.limits(),
            vocab: model.vocab(),
            parked: options.parked,
        };
        DraftLane {
            drafter: Drafter::new(
                config,
                options.draft_costs[source.drafter().unwrap_or(0)].clone(),
            ),
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
        self.model.forward(&forward)?;
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
