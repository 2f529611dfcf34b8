//! The target's thread: the engine loop.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use card_core::drafter::DraftInput;
use card_core::engine::{Action, Engine, EngineConfig, Memory, Output};
use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::policy::{Policy, PolicyConfig};
use card_core::types::{SequenceId, Source};
use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::drafters::Drafters;
use crate::{Command, Event, Failure, Meters, Options};

/// Who asked for a generation.
struct Client {
    events: Sender<Event>,
    /// The drafter it is for, beside those for everybody.
    scope: Option<String>,
}

pub(crate) struct TargetLane {
    model: Box<dyn Model + Send>,
    drafters: Drafters,
    engine: Engine,
    clients: HashMap<SequenceId, Client>,
    meters: Arc<Meters>,
    clock: Instant,
    ops: Vec<KvOp>,
}

impl TargetLane {
    pub(crate) fn new(
        model: Box<dyn Model + Send>,
        drafters: Drafters,
        options: &Options,
        meters: Arc<Meters>,
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
            ops: Vec::new(),
        }
    }

    /// Runs until nobody can send commands any more; returns what was learned.
    pub(crate) fn run(mut self, inbox: &Receiver<Command>) -> Memory {
        self.serve(inbox);
        self.drafters.end();
        self.engine.memory().clone()
    }

    fn serve(&mut self, inbox: &Receiver<Command>) {
        let mut mark = self.clock.elapsed();
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(command) => self.command(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
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
                    self.forward(&forward);
                    mark = self.clock.elapsed();
                    self.tell();
                    continue;
                }
                Some(Action::Wait(until)) => {
                    let most = until.saturating_sub(self.clock.elapsed());
                    if let Some(command) = self.drafters.wait(inbox, most) {
                        self.command(command);
                    }
                }
                Some(Action::Idle | Action::Draft(_)) => {
                    self.tell();
                    match inbox.recv() {
                        Ok(command) => self.command(command),
                        Err(_) => return,
                    }
                }
            }
            self.tell();
            // Waiting and drafting are no overhead of the engine.
            mark = self.clock.elapsed();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Attach(end, scope) => {
                self.drafters.attach(end, scope);
                let all = introductions(&self.engine, &self.clients);
                self.drafters.introduce_to_last(&all);
            }
            Command::Open(request, client, scope) => {
                let sequence = request.sequence;
                match self.engine.open(request, self.clock.elapsed()) {
                    Ok(()) => {
                        if let Some(input) = self.engine.introduction(sequence) {
                            self.drafters.tell(&input, scope.as_deref());
                        }
                        let alone = !self.drafters.hears(scope.as_deref());
                        self.engine.set_alone(sequence, alone);
                        let client = Client {
                            events: client,
                            scope,
                        };
                        self.clients.insert(sequence, client);
                    }
                    Err(error) => {
                        let _ = client.send(Event::Failed(error.into()));
                    }
                }
            }
            Command::Cancel(sequence) => self.engine.cancel(sequence),
            Command::Memory(asked) => {
                let _ = asked.send(self.engine.memory().clone());
            }
        }
    }

    fn forward(&mut self, forward: &Forward) {
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
            }
            Err(error) => {
                self.engine.abandon();
                let failure = Failure::Target(error.to_string());
                let sequences: BTreeSet<_> = forward.rows.iter().map(|r| r.sequence).collect();
                for sequence in sequences {
                    self.tell_drafters(sequence, &DraftInput::Close { sequence });
                    self.tell_client(sequence, Event::Failed(failure.clone()));
                    self.clients.remove(&sequence);
                    self.engine.cancel(sequence);
                }
            }
        }
    }

    fn decode(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.engine.take_ops(&mut self.ops);
        for op in self.ops.drain(..) {
            self.model.apply(op)?;
        }
        self.model.forward(forward)
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

    fn tell(&mut self) {
        for output in self.engine.take_outputs() {
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
                    self.tell_drafters(sequence, &DraftInput::Close { sequence });
                    self.tell_client(sequence, Event::Failed(Failure::Constraint(why)));
                    self.clients.remove(&sequence);
                }
                Output::Finished(sequence, reason) => {
                    self.tell_drafters(sequence, &DraftInput::Close { sequence });
                    self.tell_client(sequence, Event::Finished(reason));
                    self.clients.remove(&sequence);
                }
            }
        }
    }

    fn tell_drafters(&mut self, sequence: SequenceId, input: &DraftInput) {
        let client = self.clients.get(&sequence);
        let scope = client.and_then(|c| c.scope.as_deref());
        self.drafters.tell(input, scope);
    }

    /// A reader that went away cancels the generation.
    fn tell_client(&mut self, sequence: SequenceId, event: Event) {
        if let Some(client) = self.clients.get(&sequence)
            && client.events.send(event).is_err()
        {
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
