//! The target's thread: the engine loop.
//!
//! What a failed KV operation or forward leaves in the cache is never read: every sequence
//! that ran fails, every prefix that was kept is forgotten, and the cache is emptied. If that
//! fails as well the thread ends, and says why.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use card_core::drafter::DraftInput;
use card_core::engine::{Action, Engine, EngineConfig, Finish, Memory, Output};
use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::policy::{Policy, PolicyConfig};
use card_core::types::{SequenceId, Source};
use crossbeam_channel::{Receiver, TryRecvError};

use crate::drafters::Drafters;
use crate::event::{Event, Failure};
use crate::health::Watch;
use crate::{Command, Meters, Options};

/// Why a thread ended that was asked to.
const ASKED: &str = "it was asked to";

/// Who asked for a generation.
struct Client {
    /// Nobody wants it any more.
    unwanted: Arc<AtomicBool>,
    /// The drafter it is for, beside those for everybody.
    scope: Option<String>,
}

/// Why a forward was not done.
enum Undone {
    /// There was no room. The KV cache is as before.
    NoRoom(ModelError),
    /// It failed, and what the KV cache holds now is unknown.
    Broken(ModelError),
}

pub(crate) struct TargetLane {
    model: Box<dyn Model + Send>,
    drafters: Drafters,
    engine: Engine,
    clients: HashMap<SequenceId, Client>,
    meters: Arc<Meters>,
    watch: Arc<Watch>,
    clock: Instant,
    ops: Vec<KvOp>,
}

/// The whole life of the target's thread. Whoever waits for it hears when it ends, and why.
/// Returns what was learned; `None` after a panic.
pub(crate) fn live(lane: TargetLane, inbox: &Receiver<Command>) -> Option<Memory> {
    let watch = lane.watch.clone();
    // A panic leaves nothing behind that is used again: the lane goes with it.
    let lived = std::panic::catch_unwind(AssertUnwindSafe(|| lane.run(inbox)));
    lived
        .inspect_err(|panic| {
            let said = panic.downcast_ref::<&str>().copied();
            let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let said = said.unwrap_or("it did not say why");
            let why = format!(
                "the target's thread panicked ({said}): this is a fault of the program; \
                 restart it, and report what it said"
            );
            tracing::error!("{why}");
            watch.end(why);
        })
        .ok()
}

impl TargetLane {
    pub(crate) fn new(
        model: Box<dyn Model + Send>,
        drafters: Drafters,
        options: &Options,
        meters: Arc<Meters>,
        watch: Arc<Watch>,
    ) -> Self {
        let mut policy = Policy::new(
            PolicyConfig {
                mode: options.mode,
                lanes: options.lanes,
                draft_len: options.draft_len,
            },
            options.target_cost.clone(),
            options.draft_costs.clone(),
        );
        if let Some(alone) = &options.target_cost_alone {
            policy = policy.slowed_from(alone.clone());
        }
        let config = EngineConfig {
            limits: model.limits(),
            vocab: model.vocab(),
            shapes: options.shapes,
            prefill_rows: options.prefill_rows.min(model.limits().rows),
            cache_bytes: options.cache_bytes,
            parked: options.parked,
            free_sources: options.free_sources,
            trace: options.trace,
            near_tie: options.near_tie,
        };
        TargetLane {
            model,
            drafters,
            engine: Engine::new(config, policy, options.memory.clone()),
            clients: HashMap::new(),
            clock: meters.clock,
            meters,
            watch,
            ops: Vec::new(),
        }
    }

    /// Runs until nobody can send commands any more, or the model is of no use; returns what
    /// was learned.
    fn run(mut self, inbox: &Receiver<Command>) -> Memory {
        let why = self.serve(inbox);
        self.watch.pulse.end();
        self.watch.end(why);
        self.drafters.end();
        self.engine.memory().clone()
    }

    /// Returns why it ended.
    fn serve(&mut self, inbox: &Receiver<Command>) -> String {
        let mut mark = self.clock.elapsed();
        loop {
            self.beat();
            loop {
                match inbox.try_recv() {
                    Ok(command) => self.command(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return ASKED.to_owned(),
                }
            }
            self.cancel_unwanted();
            let (engine, clients) = (&self.engine, &self.clients);
            self.drafters.revive(&|| introductions(engine, clients));
            self.drafters.hear(&mut self.engine);
            self.count_drafters();
            let mut outlooks = self.drafters.outlooks();
            let action = loop {
                let now = self.clock.elapsed();
                match self.engine.poll(now, &outlooks) {
                    // Nothing could be drafted after all: ask again without that choice.
                    Action::Draft(source) if !self.draft(source) => {
                        outlooks.retain(|o| o.source != source);
                    }
                    Action::Draft(_) => break None,
                    action => break Some(action),
                }
            };
            match action {
                None => {}
                Some(Action::Forward(forward)) => {
                    let start = self.clock.elapsed();
                    self.meters.overhead(start.saturating_sub(mark));
                    self.beat();
                    if let Err(why) = self.forward(&forward) {
                        tracing::error!("{why}");
                        return why;
                    }
                    mark = self.clock.elapsed();
                    self.tell();
                    continue;
                }
                Some(Action::Wait(until)) => {
                    let most = until.saturating_sub(self.clock.elapsed());
                    self.watch.pulse.end();
                    let command = self.drafters.wait(inbox, most);
                    self.beat();
                    if let Some(command) = command {
                        self.command(command);
                    }
                }
                Some(Action::Idle | Action::Draft(_)) => {
                    self.tell();
                    self.watch.pulse.end();
                    let command = inbox.recv();
                    self.beat();
                    match command {
                        Ok(command) => self.command(command),
                        Err(_) => return ASKED.to_owned(),
                    }
                }
            }
            self.tell();
            // Waiting and drafting are no overhead of the engine.
            mark = self.clock.elapsed();
        }
    }

    /// A step begins: who watches this thread sees that the one before has ended.
    fn beat(&self) {
        self.watch.pulse.begin(self.clock.elapsed());
    }

    /// Ends what nobody wants any more. A flag says so and no message, which a full channel
    /// could lose.
    fn cancel_unwanted(&mut self) {
        let mut any = false;
        for (&sequence, client) in &self.clients {
            if client.unwanted.load(Ordering::Relaxed) {
                self.engine.cancel(sequence);
                any = true;
            }
        }
        if any {
            self.tell();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Attach(end, scope, place) => {
                self.drafters.attach(end, scope, place);
                let all = introductions(&self.engine, &self.clients);
                self.drafters.introduce_to_last(&all);
            }
            Command::Open(opening) => {
                let crate::Opening {
                    request,
                    scope,
                    unwanted,
                } = *opening;
                let sequence = request.sequence;
                if unwanted.load(Ordering::Relaxed) {
                    let last = Event::Finished(Finish::Cancelled);
                    self.watch.readers.end(sequence, last);
                    return;
                }
                match self.engine.open(request, self.clock.elapsed()) {
                    Ok(()) => {
                        if let Some(input) = self.engine.introduction(sequence) {
                            self.drafters.tell(&input, scope.as_deref());
                        }
                        let alone = !self.drafters.hears(scope.as_deref());
                        self.engine.set_alone(sequence, alone);
                        self.clients.insert(sequence, Client { unwanted, scope });
                    }
                    Err(error) => {
                        let last = Event::Failed(error.into());
                        self.watch.readers.end(sequence, last);
                    }
                }
            }
            Command::Look => {}
            Command::Memory(asked) => {
                let _ = asked.send(self.engine.memory().clone());
            }
        }
    }

    /// Does a forward, and what follows from it.
    ///
    /// # Errors
    /// If the model is of no use any more, for this reason.
    fn forward(&mut self, forward: &Forward) -> Result<(), String> {
        let start = self.clock.elapsed();
        match self.decode(forward) {
            Ok(()) => {
                let end = self.clock.elapsed();
                self.meters.target(end.saturating_sub(start));
                // What was drafted meanwhile may hold the correction.
                self.drafters.hear(&mut self.engine);
                self.engine.complete(forward, &*self.model, end);
                // Before they hear of what was written, which wakes them.
                self.drafters.rest(self.engine.drafters_rest());
                let done = self.clock.elapsed();
                self.meters.overhead(done.saturating_sub(end));
                Ok(())
            }
            Err(Undone::NoRoom(error)) => {
                self.engine.abandon();
                let failure = Failure::Target(error.to_string());
                let sequences: BTreeSet<_> = forward.rows.iter().map(|r| r.sequence).collect();
                for sequence in sequences {
                    self.end(sequence, Event::Failed(failure.clone()));
                    self.engine.cancel(sequence);
                }
                Ok(())
            }
            Err(Undone::Broken(error)) => self.start_over(&error),
        }
    }

    fn decode(&mut self, forward: &Forward) -> Result<(), Undone> {
        self.engine.take_ops(&mut self.ops);
        // After one that fails the others are of no use: the cache is emptied.
        for op in self.ops.drain(..) {
            self.model.apply(op).map_err(Undone::Broken)?;
        }
        self.model.forward(forward).map_err(|error| match error {
            ModelError::Full { .. } => Undone::NoRoom(error),
            _ => Undone::Broken(error),
        })
    }

    /// What the KV cache holds is unknown: nobody may read it. All that rests on it fails, and
    /// the target begins with an empty one.
    ///
    /// # Errors
    /// If it cannot be emptied.
    fn start_over(&mut self, error: &ModelError) -> Result<(), String> {
        tracing::error!("the target failed, and begins anew with an empty KV cache: {error}");
        let failure = Failure::Target(error.to_string());
        for sequence in self.engine.forget_all() {
            self.end(sequence, Event::Failed(failure.clone()));
        }
        self.model.reset().map_err(|why| {
            format!(
                "the target failed ({error}), and its KV cache cannot be emptied ({why}); \
                 restart this process"
            )
        })
    }

    /// Lets a drafter take a step on this lane; `false` if it took none.
    fn draft(&mut self, source: Source) -> bool {
        let drafted = self.drafters.step(source);
        if let Some(drafted) = &drafted {
            self.engine.drafted(drafted, self.clock.elapsed());
        }
        drafted.is_some()
    }

    /// Tells the engine whether there is a drafter.
    fn count_drafters(&mut self) {
        if self.drafters.take_changed() {
            for (&sequence, client) in &self.clients {
                let alone = !self.drafters.hears(client.scope.as_deref());
                self.engine.set_alone(sequence, alone);
            }
        }
        match self.drafters.any() {
            true => self.engine.drafter_back(),
            false => self.engine.drafter_lost(),
        }
    }

    /// Tells what happened, and what follows from telling it: a reader that went away ends a
    /// generation.
    fn tell(&mut self) {
        loop {
            let outputs = self.engine.take_outputs();
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                self.tell_one(output);
            }
        }
    }

    fn tell_one(&mut self, output: Output) {
        match output {
            Output::Tokens(sequence, from, tokens) => {
                let commit = DraftInput::Commit {
                    sequence,
                    from,
                    tokens: tokens.clone(),
                };
                self.tell_drafters(sequence, &commit);
                self.tell_client(sequence, Event::Tokens(tokens));
            }
            Output::Round(round) => self.tell_client(round.sequence, Event::Round(round)),
            Output::Failed(sequence, why) => {
                self.end(sequence, Event::Failed(Failure::Constraint(why)));
            }
            Output::Finished(sequence, reason) => self.end(sequence, Event::Finished(reason)),
        }
    }

    /// A generation is over for everybody but the engine.
    fn end(&mut self, sequence: SequenceId, last: Event) {
        self.tell_drafters(sequence, &DraftInput::Close { sequence });
        self.watch.readers.end(sequence, last);
        self.clients.remove(&sequence);
    }

    fn tell_drafters(&mut self, sequence: SequenceId, input: &DraftInput) {
        let client = self.clients.get(&sequence);
        let scope = client.and_then(|c| c.scope.as_deref());
        self.drafters.tell(input, scope);
    }

    /// A reader that went away cancels the generation.
    fn tell_client(&mut self, sequence: SequenceId, event: Event) {
        if !self.watch.readers.tell(sequence, event) {
            self.engine.cancel(sequence);
        }
    }
}

/// What drafters are told of the sequences that run, with their scopes.
fn introductions(
    engine: &Engine,
    clients: &HashMap<SequenceId, Client>,
) -> Vec<(DraftInput, Option<String>)> {
    let of = |(&sequence, client): (&SequenceId, &Client)| {
        Some((engine.introduction(sequence)?, client.scope.clone()))
    };
    clients.iter().filter_map(of).collect()
}
