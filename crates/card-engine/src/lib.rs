//! Drives the CARD core on real models: a thread per lane, channels, a clock.
//!
//! With a lane each, the target's thread and the drafter's run at the same time and share
//! nothing but two bounded channels: commits one way, expansions the other. On a shared
//! lane one thread runs both, as the policy says. Neither case needs a coordinator.

#![forbid(unsafe_code)]

mod draft_lane;
mod drafters;
pub mod emulate;
mod pipe;
pub mod placement;
pub mod recall;
pub mod selftest;
mod target_lane;
pub mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use card_core::constraint::Constraint;
use card_core::cost::CostCurve;
use card_core::drafter::DraftPlan;
use card_core::engine::{Finish, Memory, Request, RequestError, Round, Shapes};
use card_core::forward::Model;
use card_core::policy::{Lanes, Mode};
use card_core::sampler::SamplingParams;
use card_core::types::{DRAFTERS, SequenceId, Token};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
pub use draft_lane::start_lane;
use drafters::Drafters;
pub use drafters::{Dial, Draft, DraftEnd, MakeModel, TargetEnd, ends};
pub use pipe::{PipeReceiver, PipeSender};

/// Settings of a running engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to schedule.
    pub mode: Mode,
    /// Where the models run.
    pub lanes: Lanes,
    /// Chain length of [`Mode::DraftThenVerify`].
    pub draft_len: u32,
    /// Which forwards the target may run.
    pub shapes: Shapes,
    /// Prompt tokens per forward.
    pub prefill_rows: usize,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// Children a drafter proposes for each node.
    pub branch: usize,
    /// How far past the last committed token a drafter goes.
    pub max_depth: u32,
    /// What a message between the lanes takes, one way; for emulated devices.
    pub latency: Duration,
    /// Finished sequences kept for prompts that begin alike.
    pub parked: usize,
    /// Let text that is at hand propose candidates too.
    pub free_sources: bool,
    /// What earlier runs learned.
    pub memory: Memory,
    /// Report every candidate.
    pub trace: bool,
    /// Decisions closer than this are reported as near-ties.
    pub near_tie: f32,
    /// A drafter on a lane of its own that takes this long over one step hangs, and is
    /// replaced.
    pub drafter_hang: Duration,
    /// Pause before a drafter that failed is made anew; it doubles with each failure.
    pub drafter_pause: Duration,
    /// What is known of the target's forwards.
    pub target_cost: CostCurve,
    /// The same while no drafter works; `None` if they do not slow the target down.
    pub target_cost_alone: Option<CostCurve>,
    /// What is known of the draft models' forwards.
    pub draft_costs: [CostCurve; DRAFTERS],
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mode: Mode::Auto,
            lanes: Lanes::Shared,
            draft_len: 4,
            shapes: Shapes::FREE,
            prefill_rows: 256,
            cache_bytes: 256 * card_core::cache::BYTES_PER_NODE,
            branch: 4,
            max_depth: 24,
            latency: Duration::ZERO,
            parked: 1,
            free_sources: true,
            memory: Memory::default(),
            trace: false,
            near_tie: 0.05,
            drafter_hang: Duration::from_secs(20),
            drafter_pause: Duration::from_secs(1),
            target_cost: CostCurve::default(),
            target_cost_alone: None,
            draft_costs: Default::default(),
        }
    }
}

impl Options {
    /// What they ask of a drafter.
    pub fn draft_plan(&self) -> DraftPlan {
        let chain = self.mode == Mode::DraftThenVerify;
        DraftPlan {
            chain: chain.then_some(self.draft_len),
            branch: self.branch,
            max_depth: self.max_depth,
            cache_bytes: self.cache_bytes,
            parked: self.parked,
            lanes: self.lanes,
        }
    }
}

/// What to generate.
#[derive(Default)]
pub struct Generate {
    /// Tokens of the prompt.
    pub prompt: Vec<Token>,
    /// How to sample.
    pub params: SamplingParams,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// Tokens that end it.
    pub stop_tokens: Vec<Token>,
    /// The text the user expects back; empty for none.
    pub prediction: Vec<Token>,
    /// Report log probabilities, and so many of the most probable tokens with each
    /// ([`Round::logprobs`]).
    pub logprobs: Option<usize>,
    /// What may be written; `None` for anything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// A drafter that is for this request, beside those for all (see [`Engine::attach`]).
    pub drafter: Option<String>,
    /// Decode it plainly, whatever the mode.
    pub plain: bool,
}

/// News of a generation.
#[derive(Clone, Debug)]
pub enum Event {
    /// Tokens were committed.
    Tokens(Vec<Token>),
    /// A round was done.
    Round(Box<Round>),
    /// It ended; nothing follows.
    Finished(Finish),
    /// It could not start or go on; nothing follows.
    Failed(Failure),
}

/// Why a generation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The request cannot be.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The target failed.
    #[error("{0}")]
    Target(String),
    /// The grammar cannot go on.
    #[error("the grammar failed: {0}")]
    Constraint(String),
    /// The engine is gone.
    #[error("the engine has stopped")]
    Stopped,
}

/// Time a lane has worked since the engine started.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneTimes {
    /// Target forwards.
    pub target: Duration,
    /// Draft forwards.
    pub draft: Duration,
    /// Everything the engine does on the target's thread between forwards.
    pub overhead: Duration,
    /// Target forwards.
    pub forwards: u64,
    /// Draft forwards.
    pub draft_forwards: u64,
    /// Draft models that are at work.
    pub drafters: u64,
    /// Times one failed.
    pub drafter_failures: u64,
}

pub(crate) struct Meters {
    clock: Instant,
    target_ns: AtomicU64,
    draft_ns: AtomicU64,
    overhead_ns: AtomicU64,
    forwards: AtomicU64,
    draft_forwards: AtomicU64,
    drafters: AtomicU64,
    failures: AtomicU64,
}

impl Meters {
    fn new() -> Self {
        Meters {
            clock: Instant::now(),
            target_ns: AtomicU64::default(),
            draft_ns: AtomicU64::default(),
            overhead_ns: AtomicU64::default(),
            forwards: AtomicU64::default(),
            draft_forwards: AtomicU64::default(),
            drafters: AtomicU64::default(),
            failures: AtomicU64::default(),
        }
    }

    fn target(&self, time: Duration) {
        self.target_ns
            .fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        self.forwards.fetch_add(1, Ordering::Relaxed);
    }

    fn draft(&self, time: Duration) {
        self.draft_ns
            .fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        self.draft_forwards.fetch_add(1, Ordering::Relaxed);
    }

    fn overhead(&self, time: Duration) {
        self.overhead_ns
            .fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

pub(crate) enum Command {
    /// With the drafter that is for this request.
    Open(Request, Sender<Event>, Option<String>),
    /// A drafter elsewhere has come, for requests of this scope only if there is one.
    Attach(TargetEnd, Option<String>),
    Cancel(SequenceId),
    Memory(Sender<Memory>),
}

/// A running engine. Dropping it ends what runs and joins its threads.
pub struct Engine {
    commands: Option<Sender<Command>>,
    target: Option<JoinHandle<Memory>>,
    meters: Arc<Meters>,
    next: AtomicU64,
}

/// The events of one generation. Dropping it cancels the generation.
pub struct Stream {
    sequence: SequenceId,
    events: Receiver<Event>,
    commands: Sender<Command>,
}

impl Engine {
    /// Starts the lanes, with up to [`DRAFTERS`] draft models here and any number elsewhere.
    /// Without one only [`Options::free_sources`] propose.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        target: Box<dyn Model + Send>,
        drafts: impl IntoIterator<Item = impl Into<Draft>>,
        options: Options,
    ) -> std::io::Result<Engine> {
        let (commands, inbox) = bounded(64);
        let meters = Arc::new(Meters::new());
        let plan = Options {
            memory: Memory::default(),
            ..options.clone()
        };
        let wanted = drafts.into_iter().map(Into::into);
        let wanted = wanted.take(match options.mode {
            Mode::Plain => 0,
            _ => usize::MAX,
        });
        let drafters = Drafters::start(wanted, plan, meters.clone())?;
        let lane = target_lane::TargetLane::new(target, drafters, &options, meters.clone());
        let thread = std::thread::Builder::new().name("card-target".into());
        let target_thread = thread.spawn(move || lane.run(&inbox))?;
        Ok(Engine {
            commands: Some(commands),
            target: Some(target_thread),
            meters,
            next: AtomicU64::new(1),
        })
    }

    /// Starts a generation.
    ///
    /// # Errors
    /// If the engine has stopped. What is wrong with the request comes as an event.
    pub fn generate(&self, what: Generate) -> Result<Stream, Failure> {
        let commands = self.commands.clone().ok_or(Failure::Stopped)?;
        let sequence = SequenceId(self.next.fetch_add(1, Ordering::Relaxed));
        // Bounded by what a context can hold: the engine must not wait for a reader.
        let (sender, events) = unbounded();
        let request = Request {
            sequence,
            prompt: what.prompt,
            params: what.params,
            max_tokens: what.max_tokens,
            stop_tokens: what.stop_tokens,
            prediction: what.prediction,
            logprobs: what.logprobs,
            constraint: what.constraint,
            plain: what.plain,
        };
        commands
            .send(Command::Open(request, sender, what.drafter))
            .map_err(|_| Failure::Stopped)?;
        Ok(Stream {
            sequence,
            events,
            commands,
        })
    }

    /// Adds a drafter that came by itself. With a scope it drafts only for requests that
    /// name it ([`Generate::drafter`]). It leaves by dropping its end.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub fn attach(&self, drafter: TargetEnd, scope: Option<String>) -> Result<(), Failure> {
        let commands = self.commands.as_ref().ok_or(Failure::Stopped)?;
        let sent = commands.send(Command::Attach(drafter, scope));
        sent.map_err(|_| Failure::Stopped)
    }

    /// What this run and those before it learned so far.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub fn memory(&self) -> Result<Memory, Failure> {
        let commands = self.commands.as_ref().ok_or(Failure::Stopped)?;
        let (sender, memory) = bounded(1);
        let asked = commands.send(Command::Memory(sender));
        asked.map_err(|_| Failure::Stopped)?;
        memory.recv().map_err(|_| Failure::Stopped)
    }

    /// Ends what runs, and returns what this run and those before it learned. `None` if the
    /// target's thread failed.
    pub fn stop(mut self) -> Option<Memory> {
        self.join()
    }

    fn join(&mut self) -> Option<Memory> {
        self.commands = None;
        self.target.take().and_then(|t| t.join().ok())
    }

    /// What the lanes did so far.
    pub fn lane_times(&self) -> LaneTimes {
        let ns = |n: &AtomicU64| Duration::from_nanos(n.load(Ordering::Relaxed));
        LaneTimes {
            target: ns(&self.meters.target_ns),
            draft: ns(&self.meters.draft_ns),
            overhead: ns(&self.meters.overhead_ns),
            forwards: self.meters.forwards.load(Ordering::Relaxed),
            draft_forwards: self.meters.draft_forwards.load(Ordering::Relaxed),
            drafters: self.meters.drafters.load(Ordering::Relaxed),
            drafter_failures: self.meters.failures.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.join();
    }
}

impl Stream {
    /// The next event; `None` once it is over.
    pub fn next(&self) -> Option<Event> {
        self.events.recv().ok()
    }

    /// Where the events arrive, to wait for them together with other things.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Asks for an early end; [`Event::Finished`] follows.
    pub fn cancel(&self) {
        let _ = self.commands.try_send(Command::Cancel(self.sequence));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel();
    }
}
