//! A running engine: the handle through which every other thread speaks to the target's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use card_core::forward::Model;
use card_core::policy::Mode;
use card_core::scheduler::Learned;
use card_core::types::{SequenceId, Tenant, Token};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::event::Failure;
use crate::health::{Health, Watch};
use crate::lanes::{
    AttachPermits, Attachment, Command, Draft, LANE_STACK, MOST_ATTACHED, Opening, Roster,
    TargetEnd, TargetLane, live,
};
use crate::meters::{LaneTimes, Meters};
use crate::options::Options;
use crate::pauses::Pauses;
use crate::pulse::join_unless;
use crate::request::Generate;
use crate::stream::Stream;

/// Longest wait for the target's thread to end once it is at no step any more: it waits for
/// its drafters.
const PATIENCE: Duration = Duration::from_secs(20);

/// Commands that may wait for the target's thread.
const COMMANDS: usize = 64;

/// A running engine. Dropping it ends what runs and joins its threads; threads that hang are
/// left behind.
pub struct Engine {
    /// `None` once the engine ends: the target's thread ends when it finds the channel closed.
    commands: Option<Sender<Command>>,
    /// `None` once the thread was joined or left behind.
    target: Option<JoinHandle<Option<Learned>>>,
    /// Dropped with the engine, which ends the thread that watches the target.
    _watched: Sender<()>,
    watch: Arc<Watch>,
    permits: AttachPermits,
    meters: Arc<Meters>,
    /// The name of the next sequence; none is used twice.
    next: AtomicU64,
    target_hang: Duration,
}

impl Engine {
    /// Starts the lanes, with up to [`DRAFTERS`](card_core::types::DRAFTERS) draft models on
    /// this machine and any number on others. Without a draft model only
    /// [the model-free sources](Options::lookup) propose.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        target: Box<dyn Model + Send>,
        drafts: impl IntoIterator<Item = impl Into<Draft>>,
        options: Options,
    ) -> std::io::Result<Engine> {
        let (commands, inbox) = bounded(COMMANDS);
        let meters = Arc::new(Meters::new());
        let drafts = drafts.into_iter().map(Into::into);
        let used = drafts.take(match options.mode {
            Mode::Plain => 0,
            _ => usize::MAX,
        });
        let watch = Arc::new(Watch::new(options.target_hang));
        let (watched, ends) = bounded(0);
        start_watch(watch.clone(), meters.clone(), ends)?;
        let roster = Roster::start(used, &options, meters.clone())?;
        let lane = TargetLane::new(target, roster, &options, meters.clone(), watch.clone());
        let thread = std::thread::Builder::new()
            .name("card-target".into())
            .stack_size(LANE_STACK);
        let target_thread = thread.spawn(move || live(lane, &inbox))?;
        Ok(Engine {
            commands: Some(commands),
            target: Some(target_thread),
            _watched: watched,
            watch,
            permits: AttachPermits::default(),
            meters,
            next: AtomicU64::new(1),
            target_hang: options.target_hang,
        })
    }

    /// Whether the target's thread works.
    pub fn health(&self) -> Health {
        self.watch.health(self.meters.now())
    }

    /// Starts a generation.
    ///
    /// # Errors
    /// If the sampling settings are impossible, or the engine does not work. What else is
    /// wrong with the request comes as an event.
    pub fn generate(&self, what: Generate) -> Result<Stream, Failure> {
        let sequence = SequenceId(self.next.fetch_add(1, Ordering::Relaxed));
        let (request, scope) = what.named(sequence)?;
        // The engine must not wait for a reader, so the channel has no bound. What a reader
        // that does not read can cost is bounded where events are sent.
        let (sender, events) = unbounded();
        self.watch.readers.add(sequence, sender)?;
        let (stream, cancelled) = Stream::new(events);
        let opening = Opening {
            request,
            scope,
            cancelled,
        };
        if let Err(failure) = self.send(Command::Open(Box::new(opening))) {
            self.watch.readers.forget(sequence);
            return Err(failure);
        }
        Ok(stream)
    }

    /// Adds a drafter that came by itself. With a scope it drafts only for requests that
    /// name the scope ([`Generate::drafter`]). It leaves by dropping its end.
    ///
    /// # Errors
    /// If too many are attached already, or the engine does not work.
    pub fn attach(&self, drafter: TargetEnd, scope: Option<String>) -> Result<(), Failure> {
        let Some(permit) = self.permits.take() else {
            // Some may have left while nothing ran, and nobody noticed.
            if let Some(commands) = &self.commands {
                let _ = commands.try_send(Command::Look);
            }
            return Err(Failure::Refused(format!(
                "{MOST_ATTACHED} drafters are attached already; try again when one has left"
            )));
        };
        self.send(Command::Attach(Attachment {
            end: drafter,
            scope,
            permit,
        }))
    }

    /// What this run and those before it learned so far.
    ///
    /// # Errors
    /// If the engine does not work.
    pub fn learned(&self) -> Result<Learned, Failure> {
        let (sender, learned) = bounded(1);
        self.send(Command::Learned(sender))?;
        learned
            .recv_timeout(self.target_hang)
            .map_err(|_| self.stopped())
    }

    /// Forgets a text of a tenant: what is kept for prompts that begin like it.
    ///
    /// # Errors
    /// If the engine does not work.
    pub fn forget(&self, tenant: Tenant, text: Vec<Token>) -> Result<(), Failure> {
        self.send(Command::Forget(tenant, text))
    }

    /// What the lanes did so far.
    pub fn lane_times(&self) -> LaneTimes {
        self.meters.lane_times()
    }

    /// The engine as those see it who measure in its pauses.
    pub fn pauses(&self) -> Pauses {
        Pauses::new(self.watch.clone(), self.meters.clone())
    }

    /// Ends what runs, and returns what this run and those before it learned. `None` if the
    /// target's thread failed or hangs.
    pub fn stop(mut self) -> Option<Learned> {
        self.join()
    }

    fn join(&mut self) -> Option<Learned> {
        self.commands = None;
        let thread = self.target.take()?;
        let most = self.target_hang.saturating_add(PATIENCE);
        let stalled = || matches!(self.health(), Health::Stalled(_));
        match join_unless(thread, |waited| stalled() || waited > most) {
            Some(ended) => ended.ok().flatten(),
            None => {
                let why = "its target hangs and is left behind as it is";
                tracing::warn!("the engine ends, but {why}");
                self.watch.end(why.to_owned());
                None
            }
        }
    }

    /// Hands the target's thread a command, unless the thread does not work.
    fn send(&self, command: Command) -> Result<(), Failure> {
        if let Some(refusal) = self.watch.refusal(self.meters.now()) {
            return Err(refusal);
        }
        let commands = self.commands.as_ref().ok_or_else(|| self.stopped())?;
        commands
            .send_timeout(command, self.target_hang)
            .map_err(|_| self.stopped())
    }

    /// Why a command was not taken, or not answered.
    fn stopped(&self) -> Failure {
        let refusal = self.watch.refusal(self.meters.now());
        refusal.unwrap_or_else(|| {
            let time = self.target_hang.as_secs_f64();
            Failure::Stopped(format!(
                "the target did not answer for {time:.0} s; it may be overloaded"
            ))
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.join();
    }
}

/// Starts the thread that looks after the target's until the engine goes.
fn start_watch(watch: Arc<Watch>, meters: Arc<Meters>, ends: Receiver<()>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("card-watch".into());
    thread.spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = ends.recv_timeout(watch.every()) {
            watch.check(meters.now());
        }
    })?;
    Ok(())
}
