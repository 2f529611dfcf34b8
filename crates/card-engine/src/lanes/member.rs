//! One drafter of an engine: where it is in its life, and the lane or link behind it.

use std::panic::AssertUnwindSafe;
use std::thread::JoinHandle;
use std::time::Duration;

use card_core::protocol::{DraftInput, Drafted, Outlook};
use card_core::types::Source;
use crossbeam_channel::{Receiver, TryRecvError};

use super::draft::{Revival, RevivalResult, Revived, revive};
use super::lane::DraftLane;
use super::lifecycle::{LifeEvent, LifeState, Lifecycle};
use super::link::Link;

const PANICKED: &str = "it panicked";

/// A drafter of an engine.
///
/// Invariant: there is a lane or a link exactly while the drafter works, and a channel to the
/// thread that starts it exactly while it starts. `revival` is away only while it starts.
pub(super) struct Member {
    /// Which source its candidates have.
    pub(super) source: Source,
    /// Whether the drafter is on another machine.
    pub(super) remote: bool,
    /// If there is a scope, the drafter drafts only for the requests that name the scope.
    pub(super) scope: Option<String>,
    /// When it works, pauses, starts or stops.
    pub(super) life: Lifecycle,
    /// The lane or link behind the drafter.
    pub(super) worker: Worker,
    /// How the drafter comes back; `None` for one that does not.
    pub(super) revival: Option<Revival>,
}

/// What is behind a drafter.
pub(super) enum Worker {
    /// Nothing: the drafter pauses, or has stopped.
    None,
    /// A lane that takes its steps on the target's thread.
    Local(Box<DraftLane>),
    /// The link to a lane of its own, on this machine or another.
    Linked(Box<Link>),
    /// The channel of the thread that starts the drafter.
    Starting(Receiver<RevivalResult>),
}

impl Member {
    /// Whether it drafts for requests of this scope.
    pub(super) fn hears(&self, scope: Option<&str>) -> bool {
        self.scope.is_none() || self.scope.as_deref() == scope
    }

    /// Whether it is a head of the target, not a drafter beside it.
    pub(super) fn is_head(&self) -> bool {
        self.source == Source::Head
    }

    /// Whether it has a link to a lane of its own.
    pub(super) fn is_linked(&self) -> bool {
        matches!(self.worker, Worker::Linked(_))
    }

    /// Tells it something, if it works.
    ///
    /// # Errors
    /// If it is of no use any more, for this reason.
    pub(super) fn tell(&mut self, input: &DraftInput, now: Duration) -> Result<(), &'static str> {
        match &mut self.worker {
            Worker::Local(lane) => guarded(|| lane.handle(input.clone())),
            Worker::Linked(link) => link.tell(input, now),
            Worker::None | Worker::Starting(_) => Ok(()),
        }
    }

    /// The drafter's next step, if it shares the target's lane and has something to draft.
    ///
    /// # Errors
    /// If it is of no use any more, for this reason.
    pub(super) fn outlook(&mut self) -> Result<Option<Outlook>, &'static str> {
        match &mut self.worker {
            Worker::Local(lane) => guarded(|| lane.outlook()),
            _ => Ok(None),
        }
    }

    /// Takes a step on the target's lane; `None` if there was nothing to draft.
    ///
    /// # Errors
    /// If it is of no use any more, for this reason.
    pub(super) fn step(&mut self) -> Result<Option<Drafted>, String> {
        match &mut self.worker {
            Worker::Local(lane) => guarded(|| lane.step())?.map_err(|error| error.to_string()),
            _ => Ok(None),
        }
    }

    /// Carries out what is due in the KV cache of a lane that takes its steps on the target's thread;
    /// one with a thread of its own does so by itself.
    ///
    /// # Errors
    /// If it is of no use any more, for this reason.
    pub(super) fn apply_due(&mut self) -> Result<(), String> {
        match &mut self.worker {
            Worker::Local(lane) => guarded(|| lane.apply_due())?.map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    /// The drafter begins to work.
    pub(super) fn begin(&mut self, worker: Worker, now: Duration) {
        self.life = self.life.after(LifeEvent::Started, now);
        self.worker = worker;
    }

    /// Starts the drafter, by a thread of its own, if its pause is over. While threads that
    /// hang crowd this machine, only a drafter on another machine is started.
    pub(super) fn start_if_due(&mut self, crowded: bool, latency: Duration, now: Duration) {
        let room = self.remote || !crowded;
        self.life = self.life.after(LifeEvent::Tick { room }, now);
        if self.life.state() != LifeState::Starting {
            return;
        }
        let starting = self.revival.take().and_then(|r| revive(r, latency));
        match starting {
            Some(result) => self.worker = Worker::Starting(result),
            None => self.life = self.life.after(LifeEvent::Lost, now),
        }
    }

    /// The result of the thread that starts the drafter; `None` if there is none yet, or the
    /// thread is gone.
    pub(super) fn started(&mut self, now: Duration) -> Option<Result<Revived, String>> {
        let Worker::Starting(result) = &self.worker else {
            return None;
        };
        match result.try_recv() {
            Ok((revival, revived)) => {
                self.revival = Some(revival);
                self.worker = Worker::None;
                Some(revived)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.worker = Worker::None;
                self.life = self.life.after(LifeEvent::Lost, now);
                None
            }
        }
    }

    /// The drafter is of no use any more, for this reason. Returns its thread if that is on
    /// this machine: the thread ends once it notices that the link is gone, if it ever does.
    pub(super) fn fail(&mut self, why: &str, now: Duration) -> Option<JoinHandle<()>> {
        self.life = self.life.after(LifeEvent::Failed, now);
        let back = match self.life.state() {
            LifeState::Paused { until } => {
                format!("it is tried again in {:?}", until.saturating_sub(now))
            }
            _ => "the target goes on without it".to_owned(),
        };
        tracing::warn!("the {} model stops: {why}; {back}", self.source.name());
        match std::mem::replace(&mut self.worker, Worker::None) {
            Worker::Linked(link) => link.hang_up().map(|(thread, _)| thread),
            _ => None,
        }
    }
}

/// Does something with a lane on this thread. What a panic leaves behind is thrown away with
/// the lane.
///
/// # Errors
/// If it panics.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, &'static str> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| PANICKED)
}
