//! The target's thread: the core's loop body, with commands, clients and drafters around it.
//!
//! One pass of the loop takes commands, brings back drafters, hears the drafters on other
//! lanes, and then does what the [`Driver`] says: decode a forward, let a drafter of this lane
//! draft, wait, or idle.
//!
//! What a failed KV operation or forward leaves in the cache is never read: every sequence
//! that ran fails, every prefix that was kept is forgotten, and the cache is emptied. If that
//! fails as well the thread ends, and says why.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use card_core::driver::{DecodeError, Driver, NextStep};
use card_core::forward::{Forward, Limits, Model, ModelError};
use card_core::policy::Policy;
use card_core::protocol::DraftInput;
use card_core::scheduler::{Finish, Learned, Output, Scheduler, SchedulerConfig};
use card_core::types::SequenceId;
use crossbeam_channel::{Receiver, TryRecvError};

use super::clients::{Client, Clients};
use super::command::{Attachment, Command, Opening};
use super::roster::{Introduction, Roster};
use crate::event::{Event, Failure};
use crate::health::Watch;
use crate::meters::Meters;
use crate::options::Options;
use crate::update::{DecodingRules, EngineUpdate};

/// Why a thread ended that was asked to.
const ASKED: &str = "it was asked to";

/// The state of the target's thread.
pub(crate) struct TargetLane {
    driver: Driver,
    roster: Roster,
    clients: Clients,
    meters: Arc<Meters>,
    watch: Arc<Watch>,
    /// The options, with what was taken up since (but for what was learned).
    options: Options,
    limits: Limits,
    vocab: usize,
}

/// The whole life of the target's thread. Whoever waits for it hears when it ends, and why.
/// Returns what was learned; `None` after a panic.
pub(crate) fn live(lane: TargetLane, inbox: &Receiver<Command>) -> Option<Learned> {
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
    /// A lane on which nothing runs yet.
    pub(crate) fn new(
        model: Box<dyn Model + Send>,
        roster: Roster,
        options: &Options,
        meters: Arc<Meters>,
        watch: Arc<Watch>,
    ) -> Self {
        let (limits, vocab) = (model.limits(), model.vocab());
        let learned = options.learned.clone();
        TargetLane {
            driver: Driver::new(scheduler(options, limits, vocab, learned), model),
            roster,
            clients: Clients::default(),
            meters,
            watch,
            options: Options {
                learned: Learned::default(),
                ..options.clone()
            },
            limits,
            vocab,
        }
    }

    /// Runs until nobody can send commands any more, or the model is of no use; returns what
    /// was learned.
    fn run(mut self, inbox: &Receiver<Command>) -> Learned {
        let why = self.serve(inbox);
        self.watch.pulse.end();
        self.watch.end(why);
        self.roster.end();
        self.driver.scheduler.learned().clone()
    }

    /// The loop. Returns why it ended.
    fn serve(&mut self, inbox: &Receiver<Command>) -> String {
        // Since when the thread has done nothing but the engine's own work.
        let mut mark = self.meters.now();
        loop {
            self.beat();
            if !self.take_commands(inbox) {
                return ASKED.to_owned();
            }
            self.cancel_unwanted();
            self.meet_drafters();
            let meters = &self.meters;
            let step = self.driver.next_step(&|| meters.now(), &mut self.roster);
            match step {
                NextStep::Decode(forward) => {
                    let start = self.meters.now();
                    self.meters.overhead(start.saturating_sub(mark));
                    self.beat();
                    if let Err(why) = self.forward(&forward) {
                        tracing::error!("{why}");
                        return why;
                    }
                    mark = self.meters.now();
                    self.tell();
                    continue;
                }
                NextStep::Drafting => {}
                NextStep::Wait(until) => self.wait(inbox, until),
                NextStep::Idle => {
                    self.tell();
                    if let Err(why) = self.apply_due() {
                        tracing::error!("{why}");
                        return why;
                    }
                    if !self.idle(inbox) {
                        return ASKED.to_owned();
                    }
                }
            }
            self.tell();
            // Waiting and drafting are no overhead of the engine.
            mark = self.meters.now();
        }
    }

    /// A step begins: who watches this thread sees that the one before has ended.
    fn beat(&self) {
        self.watch.pulse.begin(self.meters.now());
    }

    /// Does every command that has come; `false` if there will be none any more.
    fn take_commands(&mut self, inbox: &Receiver<Command>) -> bool {
        loop {
            match inbox.try_recv() {
                Ok(command) => self.command(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Waits for news from a drafter on another lane, or a command, at most until then.
    fn wait(&mut self, inbox: &Receiver<Command>, until: Duration) {
        let most = until.saturating_sub(self.meters.now());
        self.watch.pulse.end();
        let command = self.roster.wait(inbox, most);
        self.beat();
        if let Some(command) = command {
            self.command(command);
        }
    }

    /// Nothing runs: what is over or was forgotten leaves the KV caches now, since nobody knows when
    /// the next forward comes.
    ///
    /// # Errors
    /// If the target is of no use any more, for this reason.
    fn apply_due(&mut self) -> Result<(), String> {
        self.roster.apply_due();
        let meters = &self.meters;
        let applied = self.driver.apply_due(&|| meters.now());
        applied.or_else(|error| self.start_over(&error))
    }

    /// Waits for a command, since there is nothing to do; `false` if there will be none.
    fn idle(&mut self, inbox: &Receiver<Command>) -> bool {
        self.watch.pulse.end();
        self.watch.pulse.pause(self.meters.now());
        let command = inbox.recv();
        self.watch.pulse.resume();
        self.beat();
        match command {
            Ok(command) => {
                self.command(command);
                true
            }
            Err(_) => false,
        }
    }

    /// Ends what nobody wants any more.
    fn cancel_unwanted(&mut self) {
        let mut any = false;
        for sequence in self.clients.cancelled() {
            self.driver.scheduler.cancel(sequence);
            any = true;
        }
        if any {
            self.tell();
        }
    }

    /// Brings back drafters, hears those on other lanes, and tells the scheduler who is there.
    fn meet_drafters(&mut self) {
        let (scheduler, clients) = (&self.driver.scheduler, &self.clients);
        self.roster.revive(&|| introductions(scheduler, clients));
        let scheduler = &mut self.driver.scheduler;
        self.roster.hear(scheduler);
        if self.roster.take_changed() {
            for (sequence, scope) in self.clients.scopes() {
                scheduler.set_alone(sequence, !self.roster.hears(scope));
            }
        }
        if self.roster.count_working() > 0 {
            scheduler.drafter_back();
        } else {
            scheduler.drafter_lost();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Open(opening) => self.open(*opening),
            Command::Attach(attachment) => self.attach(attachment),
            Command::Look => {}
            Command::Learned(asked) => {
                let _ = asked.send(self.driver.scheduler.learned().clone());
            }
            Command::Forget(tenant, text) => {
                self.driver.scheduler.forget_text(tenant, &text);
                self.roster.forget(tenant, &text);
                self.roster.apply_due();
            }
        }
    }

    /// Begins a generation, unless its reader is gone already.
    fn open(&mut self, opening: Opening) {
        let Opening {
            mut request,
            scope,
            cancelled,
        } = opening;
        let sequence = request.sequence;
        if cancelled.is_set() {
            let last = Event::Finished(Finish::Cancelled);
            self.watch.readers.end(sequence, last);
            return;
        }
        if self.driver.scheduler.running() == 0
            && let Some(found) = self.watch.updates.take()
        {
            self.take_up(found);
        }
        request.plain |= self.options.plain_at_first;
        let scheduler = &mut self.driver.scheduler;
        if let Err(error) = scheduler.open(request, self.meters.now()) {
            let last = Event::Failed(error.into());
            self.watch.readers.end(sequence, last);
            return;
        }
        if let Some(input) = scheduler.introduction(sequence) {
            self.roster.tell(&input, scope.as_deref());
        }
        scheduler.set_alone(sequence, !self.roster.hears(scope.as_deref()));
        self.clients.insert(sequence, Client { cancelled, scope });
    }

    /// Takes up what was found out in a pause. Nothing runs now: the rules by which a text is
    /// decoded never change within it.
    fn take_up(&mut self, found: EngineUpdate) {
        if !found.target.is_empty() {
            self.options.target_cost.give(found.target.iter().copied());
            self.meters.measured_anew();
        }
        self.options.draft_costs[0].give(found.draft.iter().copied());
        let scheduler = &mut self.driver.scheduler;
        scheduler.give_costs(&found.target, &found.draft);
        if let Some(rules) = found.rules {
            self.decode_by(rules);
        }
    }

    /// Begins anew with a scheduler of other rules. What was learned stays; what is kept of earlier
    /// prompts goes, since it was decoded by the rules before.
    fn decode_by(&mut self, rules: DecodingRules) {
        if let Err(error) = self.driver.reset_model() {
            tracing::warn!("the target goes on as before: its KV cache is not emptied ({error})");
            return;
        }
        self.options.shapes = rules.shapes;
        self.options.near_tie = rules.near_tie;
        self.options.plain_at_first = rules.plain;
        if !rules.reuses {
            self.options.prefix_slots = 0;
        }
        let learned = self.driver.scheduler.learned().clone();
        let scheduler = scheduler(&self.options, self.limits, self.vocab, learned);
        self.driver.set_scheduler(scheduler);
    }

    /// Takes a drafter that came by itself.
    fn attach(&mut self, attachment: Attachment) {
        let all = introductions(&self.driver.scheduler, &self.clients);
        self.roster.attach(attachment, &all);
    }

    /// Does a forward, and what follows from it.
    ///
    /// # Errors
    /// If the model is of no use any more, for this reason.
    fn forward(&mut self, forward: &Forward) -> Result<(), String> {
        let start = self.meters.now();
        let meters = &self.meters;
        let decoded = self.driver.decode_timed(forward, &|| meters.now());
        match decoded {
            Ok(()) => {
                let end = self.meters.now();
                self.meter(forward, end.saturating_sub(start));
                self.meters.set_states(self.driver.scheduler.saved_states());
                // What was drafted meanwhile may hold the correction.
                self.roster.hear(&mut self.driver.scheduler);
                self.driver.complete(forward, end);
                // Before the drafters hear of what was written, which wakes them.
                self.roster.gate(self.driver.scheduler.drafters_gated());
                let done = self.meters.now();
                self.meters.overhead(done.saturating_sub(end));
                Ok(())
            }
            Err(DecodeError::NoRoom(error)) => {
                let failure = Failure::Target(error.to_string());
                let now = self.meters.now();
                for sequence in self.driver.give_up(forward, now) {
                    self.end(sequence, Event::Failed(failure.clone()));
                }
                Ok(())
            }
            Err(DecodeError::Broken(error)) => self.start_over(&error),
        }
    }

    /// Counts a forward, and compares its time with what was measured. A drafter that is gated
    /// slows nothing down, which is no fault of the measurement.
    fn meter(&self, forward: &Forward, time: Duration) {
        self.meters.target(time);
        if self.driver.scheduler.drafters_gated() {
            return;
        }
        let measured = &self.options.target_cost;
        if let Some(off) = self.meters.target_forward(forward, time, measured) {
            tracing::warn!("{off}: costs are measured again, in pauses or at the next start");
        }
    }

    /// What the KV cache holds is unknown: nobody may read it. All that rests on it fails, and
    /// the target begins with an empty one.
    ///
    /// # Errors
    /// If it cannot be emptied.
    fn start_over(&mut self, error: &ModelError) -> Result<(), String> {
        tracing::error!("the target failed, and begins anew with an empty KV cache: {error}");
        let failure = Failure::Target(error.to_string());
        for sequence in self.driver.scheduler.forget_all() {
            self.end(sequence, Event::Failed(failure.clone()));
        }
        self.driver.reset_model().map_err(|why| {
            format!(
                "the target failed ({error}), and its KV cache cannot be emptied ({why}); \
                 restart this process"
            )
        })
    }

    /// Tells what happened, and what follows from telling it: a reader that went away ends a
    /// generation.
    fn tell(&mut self) {
        loop {
            let outputs = self.driver.scheduler.take_outputs();
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

    /// A generation is over for everybody but the scheduler.
    fn end(&mut self, sequence: SequenceId, last: Event) {
        self.tell_drafters(sequence, &DraftInput::Close { sequence });
        self.watch.readers.end(sequence, last);
        self.clients.remove(sequence);
    }

    /// Tells the drafters that draft for this sequence.
    fn tell_drafters(&mut self, sequence: SequenceId, input: &DraftInput) {
        self.roster.tell(input, self.clients.scope(sequence));
    }

    /// Tells a generation's reader. If the reader went away the generation is cancelled.
    fn tell_client(&mut self, sequence: SequenceId, event: Event) {
        if !self.watch.readers.tell(sequence, event) {
            self.driver.scheduler.cancel(sequence);
        }
    }
}

/// The scheduler that these options ask for, for this target.
fn scheduler(options: &Options, limits: Limits, vocab: usize, learned: Learned) -> Scheduler {
    let config = SchedulerConfig {
        limits,
        vocab,
        shapes: options.shapes,
        prefill_rows: options.prefill_rows.min(limits.rows),
        cache_bytes: options.cache_bytes,
        prefix_slots: options.prefix_slots,
        lookup: options.lookup,
        trace: options.trace,
        near_tie: options.near_tie,
    };
    let target_cost = options.target_cost.clone();
    let policy = Policy::new(options.policy(), target_cost, options.draft_costs.clone());
    let mut policy = policy.with_head(options.head_cost.clone());
    if let Some(alone) = &options.target_cost_alone {
        policy = policy.slowed_from(alone.clone());
    }
    let mut scheduler = Scheduler::new(config, policy, learned);
    scheduler.set_state_room(options.state_bytes);
    scheduler
}

/// What drafters are told of the sequences that run.
fn introductions(scheduler: &Scheduler, clients: &Clients) -> Vec<Introduction> {
    let known = clients.scopes().filter_map(|(sequence, scope)| {
        Some(Introduction {
            input: scheduler.introduction(sequence)?,
            scope: scope.map(str::to_owned),
        })
    });
    known.collect()
}
