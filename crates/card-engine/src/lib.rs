//! Drives the CARD core on real models: a thread per lane, channels, a clock.
//!
//! With a lane each, the target's thread and the drafter's run at the same time and share
//! nothing but two bounded channels: commits one way, expansions the other. On a shared
//! lane one thread runs both, as the policy says. Neither case needs a coordinator.
//!
//! Nothing here waits for ever: [`Engine::health`] tells whether the target's thread works,
//! and if it ends, panics or hangs, every open generation hears of it.

#![forbid(unsafe_code)]

mod draft_lane;
mod drafters;
pub mod emulate;
mod event;
mod health;
mod link;
mod outbox;
mod pipe;
pub mod placement;
mod places;
mod pulse;
mod readers;
pub mod recall;
pub mod selftest;
mod target_lane;
pub mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use card_core::constraint::Constraint;
use card_core::cost::CostCurve;
use card_core::drafter::DraftPlan;
use card_core::engine::{Memory, Request, RequestError, Shapes};
use card_core::forward::Model;
use card_core::policy::{Lanes, Mode};
use card_core::sampler::SamplingParams;
use card_core::types::{DRAFTERS, SequenceId, Tenant, Token};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
pub use draft_lane::start_lane;
use drafters::Drafters;
pub use drafters::{Dial, Draft, MakeModel};
pub use event::{Event, Failure};
pub use health::Health;
use health::Watch;
pub use link::{DraftEnd, TargetEnd, ends};
pub use pipe::{PipeReceiver, PipeSender};
use places::{MOST_ATTACHED, Place, Places};
use pulse::join_unless;

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
    /// A target that takes this long over one forward or one step hangs: see
    /// [`Engine::health`].
    pub target_hang: Duration,
    /// A drafter on a lane of its own that takes this long over one step hangs, and is
    /// replaced. So does one elsewhere that says nothing for so long while it has work.
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
            target_hang: Duration::from_secs(120),
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
    /// How to sample; [`Engine::generate`] checks it.
    pub params: SamplingParams,
    /// Most tokens to write.
    pub max_tokens: u32,
    /// Tokens that end it.
    pub stop_tokens: Vec<Token>,
    /// The text the user expects back; empty for none.
    pub prediction: Arc<[Token]>,
    /// Report log probabilities, and so many of the most probable tokens with each
    /// ([`Round::logprobs`](card_core::engine::Round::logprobs)).
    pub logprobs: Option<usize>,
    /// What may be written; `None` for anything.
    pub constraint: Option<Box<dyn Constraint>>,
    /// A drafter that is for this request, beside those for all (see [`Engine::attach`]).
    pub drafter: Option<String>,
    /// Decode it plainly, whatever the mode.
    pub plain: bool,
    /// Whose it is: what is kept of one tenant's texts serves no other.
    pub tenant: Tenant,
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

/// A generation that begins.
pub(crate) struct Opening {
    request: Request,
    /// The drafter that is for this request.
    scope: Option<String>,
    /// Nobody wants it any more.
    unwanted: Arc<AtomicBool>,
}

pub(crate) enum Command {
    Open(Box<Opening>),
    /// A drafter elsewhere has come, for requests of this scope only if there is one.
    Attach(TargetEnd, Option<String>, Place),
    /// Look who of the drafters is still there.
    Look,
    Memory(Sender<Memory>),
}

/// Longest wait for the target's thread to end once it is at no step any more: it waits for
/// its drafters.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stack of the target's thread; as much of it is used as there is need for.
const TARGET_STACK: usize = 32 << 20;

/// A running engine. Dropping it ends what runs and joins its threads; those that hang are
/// left behind.
pub struct Engine {
    commands: Option<Sender<Command>>,
    target: Option<JoinHandle<Option<Memory>>>,
    /// Dropped with the engine, which ends the thread that watches the target.
    _watched: Sender<()>,
    watch: Arc<Watch>,
    places: Places,
    meters: Arc<Meters>,
    next: AtomicU64,
    target_hang: Duration,
}

/// The events of one generation. Dropping it cancels the generation.
pub struct Stream {
    events: Receiver<Event>,
    unwanted: Arc<AtomicBool>,
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
        let watch = Arc::new(Watch::new(options.target_hang));
        let (watched, ends) = bounded(0);
        start_watch(watch.clone(), meters.clone(), ends)?;
        let drafters = Drafters::start(wanted, plan, meters.clone())?;
        let lane =
            target_lane::TargetLane::new(target, drafters, &options, meters.clone(), watch.clone());
        // Masks of grammars go as deep as their patterns do.
        let thread = std::thread::Builder::new()
            .name("card-target".into())
            .stack_size(TARGET_STACK);
        let target_thread = thread.spawn(move || target_lane::live(lane, &inbox))?;
        Ok(Engine {
            commands: Some(commands),
            target: Some(target_thread),
            _watched: watched,
            watch,
            places: Places::default(),
            meters,
            next: AtomicU64::new(1),
            target_hang: options.target_hang,
        })
    }

    /// Whether the target's thread works.
    pub fn health(&self) -> Health {
        self.watch.health(self.meters.clock.elapsed())
    }

    /// Starts a generation.
    ///
    /// # Errors
    /// If the sampling settings are impossible, or the engine does not work. What else is
    /// wrong with the request comes as an event.
    pub fn generate(&self, what: Generate) -> Result<Stream, Failure> {
        let params = what.params.checked().map_err(RequestError::from)?;
        let sequence = SequenceId(self.next.fetch_add(1, Ordering::Relaxed));
        // The engine must not wait for a reader. What one that does not read can cost is
        // bounded where events are told.
        let (sender, events) = unbounded();
        self.watch.readers.add(sequence, sender)?;
        let unwanted = Arc::new(AtomicBool::new(false));
        let opening = Opening {
            request: Request {
                sequence,
                prompt: what.prompt,
                params,
                max_tokens: what.max_tokens,
                stop_tokens: what.stop_tokens,
                prediction: what.prediction.iter().copied().collect(),
                logprobs: what.logprobs,
                constraint: what.constraint,
                plain: what.plain,
                tenant: what.tenant,
            },
            scope: what.drafter,
            unwanted: unwanted.clone(),
        };
        if let Err(failure) = self.send(Command::Open(Box::new(opening))) {
            self.watch.readers.forget(sequence);
            return Err(failure);
        }
        Ok(Stream { events, unwanted })
    }

    /// Adds a drafter that came by itself. With a scope it drafts only for requests that
    /// name it ([`Generate::drafter`]). It leaves by dropping its end.
    ///
    /// # Errors
    /// If there are too many of them, or the engine does not work.
    pub fn attach(&self, drafter: TargetEnd, scope: Option<String>) -> Result<(), Failure> {
        let Some(place) = self.places.take() else {
            // Some may have left while nothing ran, and nobody noticed.
            if let Some(commands) = &self.commands {
                let _ = commands.try_send(Command::Look);
            }
            return Err(Failure::Refused(format!(
                "{MOST_ATTACHED} drafters are attached already; try again when one has left"
            )));
        };
        self.send(Command::Attach(drafter, scope, place))
    }

    /// What this run and those before it learned so far.
    ///
    /// # Errors
    /// If the engine does not work.
    pub fn memory(&self) -> Result<Memory, Failure> {
        let (sender, memory) = bounded(1);
        self.send(Command::Memory(sender))?;
        memory
            .recv_timeout(self.target_hang)
            .map_err(|_| self.stopped())
    }

    /// Ends what runs, and returns what this run and those before it learned. `None` if the
    /// target's thread failed or hangs.
    pub fn stop(mut self) -> Option<Memory> {
        self.join()
    }

    fn join(&mut self) -> Option<Memory> {
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

    /// Hands the target's thread a command, unless that does not work.
    fn send(&self, command: Command) -> Result<(), Failure> {
        if let Some(refusal) = self.watch.refusal(self.meters.clock.elapsed()) {
            return Err(refusal);
        }
        let commands = self.commands.as_ref().ok_or_else(|| self.stopped())?;
        commands
            .send_timeout(command, self.target_hang)
            .map_err(|_| self.stopped())
    }

    /// Why a command was not taken, or not answered.
    fn stopped(&self) -> Failure {
        let refusal = self.watch.refusal(self.meters.clock.elapsed());
        let busy = || {
            let time = self.target_hang.as_secs_f64();
            Failure::Stopped(format!(
                "the target did not answer for {time:.0} s; it may be overloaded"
            ))
        };
        refusal.unwrap_or_else(busy)
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

/// Looks after the target's thread until the engine goes.
fn start_watch(watch: Arc<Watch>, meters: Arc<Meters>, ends: Receiver<()>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("card-watch".into());
    thread.spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = ends.recv_timeout(watch.every()) {
            watch.check(meters.clock.elapsed());
        }
    })?;
    Ok(())
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
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel();
    }
}
