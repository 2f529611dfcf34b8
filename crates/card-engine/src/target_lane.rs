//! The target's thread: the engine loop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use card_core::drafter::{DraftInput, Drafted};
use card_core::engine::{Action, Engine, EngineConfig, Memory, Output};
use card_core::forward::{Forward, KvOp, Model, ModelError};
use card_core::policy::{Outlook, Policy, PolicyConfig};
use card_core::types::{SequenceId, Source};
use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError};

use crate::draft_lane::DraftLane;
use crate::pipe::{PipeReceiver, PipeSender};
use crate::{Command, Event, Failure, Meters, Options};

/// Where the drafter is.
pub(crate) enum Drafting {
    /// On this thread.
    Here(Box<DraftLane>),
    /// On another.
    There(Link),
}

/// The channels to a drafter on another lane.
pub(crate) struct Link {
    to: PipeSender<DraftInput>,
    from: PipeReceiver<Drafted>,
    /// What did not fit into the channel yet; commits of one sequence are joined.
    backlog: VecDeque<DraftInput>,
}

impl Link {
    pub(crate) fn new(to: PipeSender<DraftInput>, from: PipeReceiver<Drafted>) -> Self {
        Link {
            to,
            from,
            backlog: VecDeque::new(),
        }
    }

    /// Sends without ever waiting; `false` if nobody listens any more.
    fn send(&mut self, input: Option<DraftInput>) -> bool {
        if let Some(input) = input {
            match (self.backlog.back_mut(), input) {
                (
                    Some(DraftInput::Commit {
                        sequence, tokens, ..
                    }),
                    DraftInput::Commit {
                        sequence: other,
                        tokens: more,
                        ..
                    },
                ) if *sequence == other => tokens.extend(more),
                (_, input) => self.backlog.push_back(input),
            }
        }
        while let Some(input) = self.backlog.pop_front() {
            match self.to.try_send(input) {
                Ok(()) => {}
                Err(TrySendError::Full(input)) => {
                    self.backlog.push_front(input);
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        true
    }
}

pub(crate) struct TargetLane {
    model: Box<dyn Model + Send>,
    drafting: Vec<Drafting>,
    engine: Engine,
    clients: HashMap<SequenceId, Sender<Event>>,
    meters: Arc<Meters>,
    clock: Instant,
    ops: Vec<KvOp>,
}

impl TargetLane {
    pub(crate) fn new(
        model: Box<dyn Model + Send>,
        drafting: Vec<Drafting>,
        options: &Options,
        meters: Arc<Meters>,
    ) -> Self {
        let policy = Policy::new(
            PolicyConfig {
                mode: options.mode,
                lanes: options.lanes,
                draft_len: options.draft_len,
            },
            options.target_cost.clone(),
            options.draft_costs.clone(),
        );
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
        let mut engine = Engine::new(config, policy, options.memory.clone());
        if drafting.is_empty() {
            engine.drafter_lost();
        }
        TargetLane {
            model,
            drafting,
            engine,
            clients: HashMap::new(),
            meters,
            clock: Instant::now(),
            ops: Vec::new(),
        }
    }

    /// Runs until nobody can send commands any more; returns what was learned.
    pub(crate) fn run(mut self, inbox: &Receiver<Command>) -> Memory {
        self.serve(inbox);
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
            self.hear_drafter();
            let mut outlooks: Vec<Outlook> = self
                .drafting
                .iter_mut()
                .filter_map(|d| match d {
                    Drafting::Here(lane) => lane.outlook(),
                    Drafting::There(_) => None,
                })
                .collect();
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
                    let now = self.clock.elapsed();
                    self.wait(inbox, until.saturating_sub(now));
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
            Command::Open(request, client) => {
                let sequence = request.sequence;
                let input = DraftInput::Open {
                    sequence,
                    tokens: request.prompt.clone(),
                    params: request.params.clone(),
                };
                match self.engine.open(request, self.clock.elapsed()) {
                    Ok(()) => {
                        self.clients.insert(sequence, client);
                        self.tell_drafter(&input);
                    }
                    Err(error) => {
                        let _ = client.send(Event::Failed(error.into()));
                    }
                }
            }
            Command::Cancel(sequence) => self.engine.cancel(sequence),
        }
    }

    fn forward(&mut self, forward: &Forward) {
        let start = self.clock.elapsed();
        match self.decode(forward) {
            Ok(()) => {
                let end = self.clock.elapsed();
                self.meters.target(end.saturating_sub(start));
                self.engine.complete(forward, &*self.model, end);
                let done = self.clock.elapsed();
                self.meters.overhead(done.saturating_sub(end));
            }
            Err(error) => {
                self.engine.abandon();
                let failure = Failure::Target(error.to_string());
                for row in &forward.rows {
                    if let Some(client) = self.clients.remove(&row.sequence) {
                        let _ = client.send(Event::Failed(failure.clone()));
                        self.engine.cancel(row.sequence);
                    }
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
        let place = self
            .drafting
            .iter()
            .position(|d| matches!(d, Drafting::Here(lane) if lane.source() == source));
        let Some(place) = place else { return false };
        let Drafting::Here(lane) = &mut self.drafting[place] else {
            return false;
        };
        match lane.step(&self.meters) {
            Ok(Some(drafted)) => {
                self.engine.drafted(&drafted);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!("a drafter stops: {error}; the target goes on without it");
                self.drafting.remove(place);
                self.count_drafters();
                false
            }
        }
    }

    /// Tells the engine if the last drafter is gone.
    fn count_drafters(&mut self) {
        if self.drafting.is_empty() {
            self.engine.drafter_lost();
        }
    }

    fn hear_drafter(&mut self) {
        let engine = &mut self.engine;
        self.drafting.retain_mut(|drafting| {
            let Drafting::There(link) = drafting else {
                return true;
            };
            let alive = link.send(None);
            loop {
                match link.from.try_recv() {
                    Ok(drafted) => engine.drafted(&drafted),
                    Err(TryRecvError::Empty) => return alive,
                    Err(TryRecvError::Disconnected) => return false,
                }
            }
        });
        self.count_drafters();
    }

    /// Waits for a drafter or a command. What a drafter says is heard afterwards.
    fn wait(&mut self, inbox: &Receiver<Command>, most: Duration) {
        let mut select = Select::new();
        let command = select.recv(inbox);
        let mut links = Vec::new();
        let mut until = Instant::now() + most;
        for (place, drafting) in self.drafting.iter().enumerate() {
            let Drafting::There(link) = drafting else {
                continue;
            };
            match link.from.next() {
                Ok(due) => until = until.min(due),
                Err(receiver) => links.push((select.recv(receiver), place, receiver)),
            }
        }
        let Ok(operation) = select.select_deadline(until) else {
            return;
        };
        if operation.index() == command {
            if let Ok(command) = operation.recv(inbox) {
                self.command(command);
            }
            return;
        }
        let ready = links.iter().find(|l| l.0 == operation.index());
        let coming = ready.map(|&(_, place, receiver)| (place, operation.recv(receiver).ok()));
        if let Some((place, Some(message))) = coming
            && let Some(Drafting::There(link)) = self.drafting.get_mut(place)
        {
            link.from.take_in(message);
        }
    }

    fn tell_drafter(&mut self, input: &DraftInput) {
        self.drafting.retain_mut(|drafting| match drafting {
            Drafting::Here(lane) => {
                lane.handle(input.clone());
                true
            }
            Drafting::There(link) => link.send(Some(input.clone())),
        });
        self.count_drafters();
    }

    fn tell(&mut self) {
        for output in self.engine.take_outputs() {
            match output {
                Output::Tokens(sequence, from, tokens) => {
                    self.tell_drafter(&DraftInput::Commit {
                        sequence,
                        from,
                        tokens: tokens.clone(),
                    });
                    self.tell_client(sequence, Event::Tokens(tokens));
                }
                Output::Round(round) => self.tell_client(round.sequence, Event::Round(round)),
                Output::Finished(sequence, reason) => {
                    self.tell_drafter(&DraftInput::Close { sequence });
                    self.tell_client(sequence, Event::Finished(reason));
                    self.clients.remove(&sequence);
                }
            }
        }
    }

    /// A reader that went away cancels the generation.
    fn tell_client(&mut self, sequence: SequenceId, event: Event) {
        if let Some(client) = self.clients.get(&sequence)
            && client.send(event).is_err()
        {
            self.clients.remove(&sequence);
            self.engine.cancel(sequence);
        }
    }
}
