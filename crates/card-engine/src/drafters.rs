//! The draft models as the target's thread sees them: here or on lanes of their own, at
//! work, down, or on their way back.
//!
//! A drafter that fails, panics, hangs or floods the target costs speed and nothing else. It
//! is made anew, after a pause that doubles each time it fails again, by a thread that the
//! target does not wait for.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use card_core::backoff::Backoff;
use card_core::drafter::{DraftInput, Drafted, Share};
use card_core::engine::Engine;
use card_core::forward::Model;
use card_core::policy::{Lanes, Outlook};
use card_core::types::Source;
use crossbeam_channel::{Receiver, Select, TryRecvError, bounded};

use crate::draft_lane::DraftLane;
use crate::link::{DraftEnd, Link, MOST_EXPANSIONS, MOST_MESSAGES, TargetEnd, ends};
use crate::places::Place;
use crate::pulse::{Pulse, join_unless};
use crate::{Command, Meters, Options};

/// Makes a draft model anew after it failed; says why it cannot.
pub type MakeModel = Box<dyn FnMut() -> Result<Box<dyn Model + Send>, String> + Send>;

/// Connects to a drafter on another machine, and moves messages until either side drops its
/// end; says why it cannot.
pub type Dial = Box<dyn FnMut(DraftEnd) -> Result<(), String> + Send>;

/// A draft model, and how it comes back after a failure.
pub struct Draft {
    /// Here and ready; `None` if it has to be dialled.
    model: Option<Box<dyn Model + Send>>,
    again: Option<Again>,
}

enum Again {
    Model(MakeModel),
    Dial(Dial),
}

impl Draft {
    /// One that is made anew by `again`.
    pub fn new(model: Box<dyn Model + Send>, again: MakeModel) -> Self {
        Draft {
            model: Some(model),
            again: Some(Again::Model(again)),
        }
    }

    /// One on another machine; it is dialled again whenever the connection is lost.
    pub fn remote(dial: Dial) -> Self {
        Draft {
            model: None,
            again: Some(Again::Dial(dial)),
        }
    }

    pub(crate) fn is_remote(&self) -> bool {
        self.model.is_none()
    }
}

impl From<Box<dyn Model + Send>> for Draft {
    /// One that stays away once it failed.
    fn from(model: Box<dyn Model + Send>) -> Self {
        Draft {
            model: Some(model),
            again: None,
        }
    }
}

/// At work for this long, a drafter's earlier failures are forgotten.
const SOUND: Duration = Duration::from_secs(120);
const PANICKED: &str = "it panicked";
/// Threads of drafters that hang and were left behind, each with its model. With more of them
/// no draft model of this machine is made anew until one ends.
const MOST_LEFT: usize = 4;
/// Longest wait for the threads of drafters when the engine ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// All draft models of an engine.
pub(crate) struct Drafters {
    slots: Vec<Slot>,
    options: Options,
    meters: Arc<Meters>,
    /// Somebody came or went since that was last asked.
    changed: bool,
    /// Threads that did not end when they should have.
    left: Vec<JoinHandle<()>>,
}

struct Slot {
    source: Source,
    /// It is on another machine.
    remote: bool,
    state: State,
    again: Option<Again>,
    /// It is only for requests that name it.
    scope: Option<String>,
    pause: Backoff,
    /// When it was made.
    since: Instant,
}

enum State {
    /// On the target's thread.
    Here(Box<DraftLane>),
    /// On a lane of its own.
    There(Box<Link>),
    Down {
        until: Instant,
    },
    /// Being made.
    Coming(Receiver<Made>),
    /// It will not be back.
    Gone,
}

type Made = (Again, Result<Fresh, String>);

enum Fresh {
    Model(Box<dyn Model + Send>),
    Linked(TargetEnd),
}

impl Drafters {
    /// Starts them, each as its own source.
    pub(crate) fn start(
        drafts: impl Iterator<Item = Draft>,
        options: Options,
        meters: Arc<Meters>,
    ) -> std::io::Result<Self> {
        let sources = Source::ALL.into_iter().filter(|s| s.drafter().is_some());
        let mut all = Drafters {
            slots: Vec::new(),
            options,
            meters,
            changed: true,
            left: Vec::new(),
        };
        let (away, here): (Vec<_>, Vec<_>) = drafts.partition(Draft::is_remote);
        for (draft, source) in here.into_iter().zip(sources) {
            if let Some(model) = draft.model {
                let state = all.at_work(model, source)?;
                all.add(source, false, state, draft.again, None);
            }
        }
        for draft in away {
            let until = Instant::now();
            all.add(
                all.remote_source(),
                true,
                State::Down { until },
                draft.again,
                None,
            );
        }
        Ok(all)
    }

    fn add(
        &mut self,
        source: Source,
        remote: bool,
        state: State,
        again: Option<Again>,
        scope: Option<String>,
    ) {
        self.slots.push(Slot {
            source,
            remote,
            state,
            again,
            scope,
            pause: Backoff::DRAFTER.starting(self.options.drafter_pause),
            since: Instant::now(),
        });
        self.changed = true;
    }

    /// What drafters on other machines are known as.
    fn remote_source(&self) -> Source {
        match self.slots.iter().any(|s| !s.remote) {
            true => Source::Draft2,
            false => Source::Draft,
        }
    }

    /// A drafter elsewhere has come. With a scope it is only for requests that name it.
    pub(crate) fn attach(&mut self, end: TargetEnd, scope: Option<String>, place: Place) {
        // One that was dialled comes back; one that came by itself does so as a new one.
        self.slots
            .retain(|s| s.again.is_some() || !matches!(s.state, State::Gone));
        let state = State::There(Box::new(Link::remote(end, Some(place))));
        self.add(self.remote_source(), true, state, None, scope);
    }

    /// Whether somebody came or went since the last call. If so the parts are dealt anew.
    pub(crate) fn take_changed(&mut self) -> bool {
        let changed = std::mem::take(&mut self.changed);
        if changed {
            self.share_out();
        }
        changed
    }

    /// Drafters of one source and scope share the tree.
    fn share_out(&mut self) {
        let linked = |s: &Slot| matches!(s.state, State::There(_));
        let group = |s: &Slot| (s.source, s.scope.clone());
        let groups: Vec<_> = self
            .slots
            .iter()
            .map(|s| linked(s).then(|| group(s)))
            .collect();
        for i in 0..self.slots.len() {
            if groups[i].is_none() {
                continue;
            }
            let same = |g: &&Option<_>| **g == groups[i];
            let share = Share {
                index: groups[..i].iter().filter(same).count() as u32,
                of: groups.iter().filter(same).count() as u32,
            };
            let told = self.slots[i].tell(&DraftInput::Share(share), self.meters.clock.elapsed());
            if let Err(why) = told {
                self.fail(i, why);
            }
        }
    }

    /// Whether somebody drafts for requests of this scope.
    pub(crate) fn hears(&self, scope: Option<&str>) -> bool {
        let at_work = |s: &&Slot| matches!(s.state, State::Here(_) | State::There(_));
        self.slots.iter().filter(at_work).any(|s| s.hears(scope))
    }

    /// Tells the newest drafter of what runs: `introductions` are the sequences with their
    /// scopes.
    pub(crate) fn introduce_to_last(&mut self, introductions: &[(DraftInput, Option<String>)]) {
        if let Some(last) = self.slots.len().checked_sub(1) {
            self.introduce(last, introductions);
        }
    }

    fn introduce(&mut self, i: usize, introductions: &[(DraftInput, Option<String>)]) {
        let now = self.meters.clock.elapsed();
        let slot = &mut self.slots[i];
        let mut own = introductions
            .iter()
            .filter(|(_, scope)| hears(&slot.scope, scope.as_deref()));
        let told = own.try_for_each(|(input, _)| slot.state.tell(input, now));
        if let Err(why) = told {
            self.fail(i, why);
        }
    }

    /// Whether one of them is at work.
    pub(crate) fn any(&self) -> bool {
        let at_work = |s: &Slot| matches!(s.state, State::Here(_) | State::There(_));
        let count = self.slots.iter().filter(|s| at_work(s)).count();
        self.meters.drafters.store(count as u64, Ordering::Relaxed);
        count > 0
    }

    fn at_work(&self, model: Box<dyn Model + Send>, source: Source) -> std::io::Result<State> {
        let plan = self.options.draft_plan();
        let cost = &self.options.draft_costs[source.drafter().unwrap_or(0)];
        let lane = DraftLane::new(model, source, &plan, cost, self.meters.clock);
        if self.options.lanes == Lanes::Shared {
            return Ok(State::Here(Box::new(lane)));
        }
        let (near, mut far) = ends(self.options.latency);
        let (meters, pulse) = (self.meters.clone(), Arc::new(Pulse::default()));
        let name = format!("card-{}", source.name());
        let beat = pulse.clone();
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || lane.run(&mut far.inbox, &far.outbox, &meters, &beat))?;
        Ok(State::There(Box::new(Link::local(near, thread, pulse))))
    }

    /// Brings back who is due. The engine's sequences are told to whoever is new.
    pub(crate) fn revive(&mut self, introduce: &dyn Fn() -> Vec<(DraftInput, Option<String>)>) {
        self.left.retain(|thread| !thread.is_finished());
        let crowded = self.left.len() >= MOST_LEFT;
        for i in 0..self.slots.len() {
            let slot = &mut self.slots[i];
            match &slot.state {
                State::Down { until } if Instant::now() >= *until => {
                    if crowded && !slot.remote {
                        let pause = slot.pause.fail();
                        slot.state = State::Down {
                            until: Instant::now() + pause,
                        };
                        continue;
                    }
                    slot.state = match slot.again.take() {
                        Some(again) => make_again(again, self.options.latency),
                        None => State::Gone,
                    };
                }
                State::Coming(made) => match made.try_recv() {
                    Ok((again, made)) => {
                        slot.again = Some(again);
                        let source = slot.source;
                        let made = made.and_then(|fresh| match fresh {
                            Fresh::Model(model) => {
                                self.at_work(model, source).map_err(|e| e.to_string())
                            }
                            Fresh::Linked(end) => {
                                Ok(State::There(Box::new(Link::remote(end, None))))
                            }
                        });
                        self.back(i, made, introduce);
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => slot.state = State::Gone,
                },
                _ => {}
            }
        }
    }

    fn back(
        &mut self,
        i: usize,
        made: Result<State, String>,
        introduce: &dyn Fn() -> Vec<(DraftInput, Option<String>)>,
    ) {
        match made {
            Ok(state) => {
                self.changed = true;
                let slot = &mut self.slots[i];
                slot.state = state;
                slot.since = Instant::now();
                tracing::info!("the {} model is at work", slot.source.name());
                self.introduce(i, &introduce());
            }
            Err(why) => self.fail(i, &why),
        }
    }

    /// What those that share the lane would do next.
    pub(crate) fn outlooks(&mut self) -> Vec<Outlook> {
        let mut outlooks = Vec::new();
        for i in 0..self.slots.len() {
            let State::Here(lane) = &mut self.slots[i].state else {
                continue;
            };
            match std::panic::catch_unwind(AssertUnwindSafe(|| lane.outlook())) {
                Ok(outlook) => outlooks.extend(outlook),
                Err(_) => self.fail(i, PANICKED),
            }
        }
        outlooks
    }

    /// Lets one take a step on this lane; `None` if it took none.
    pub(crate) fn step(&mut self, source: Source) -> Option<Drafted> {
        let i = self.slots.iter().position(|s| s.source == source)?;
        let State::Here(lane) = &mut self.slots[i].state else {
            return None;
        };
        // What a panic leaves behind is thrown away with the lane.
        match std::panic::catch_unwind(AssertUnwindSafe(|| lane.step(&self.meters))) {
            Ok(Ok(drafted)) => drafted,
            Ok(Err(error)) => {
                self.fail(i, &error.to_string());
                None
            }
            Err(_) => {
                self.fail(i, PANICKED);
                None
            }
        }
    }

    /// Tells those that draft for requests of this scope.
    pub(crate) fn tell(&mut self, input: &DraftInput, scope: Option<&str>) {
        let now = self.meters.clock.elapsed();
        for i in 0..self.slots.len() {
            if !self.slots[i].hears(scope) {
                continue;
            }
            if let Err(why) = self.slots[i].tell(input, now) {
                self.fail(i, why);
            }
        }
    }

    /// Passes on what those on other lanes drafted, and notices who hangs. Of one that says
    /// more than the target can take in beside its work, the rest waits for the next call.
    pub(crate) fn hear(&mut self, engine: &mut Engine) {
        for i in 0..self.slots.len() {
            let Slot { state, source, .. } = &mut self.slots[i];
            let State::There(link) = state else {
                continue;
            };
            let mut trouble = link.flush().err();
            let mut expansions = 0;
            for _ in 0..MOST_MESSAGES {
                if trouble.is_some() || expansions >= MOST_EXPANSIONS {
                    break;
                }
                match link.hear() {
                    Ok(Some(mut drafted)) => {
                        // Who it is, is not for the other side to say.
                        drafted.source = *source;
                        expansions += drafted.expansions.len();
                        let now = self.meters.clock.elapsed();
                        if !link.believes(drafted.elapsed, now) {
                            // Its candidates are as good as any, its times are not.
                            for e in &drafted.expansions {
                                engine.propose(e.sequence, e.root, &e.path, &e.children, *source);
                            }
                            continue;
                        }
                        if link.is_remote() {
                            self.meters.draft(drafted.elapsed);
                        }
                        engine.drafted(&drafted, self.meters.clock.elapsed());
                    }
                    Ok(None) => break,
                    Err(why) => trouble = Some(why),
                }
            }
            let stuck = link.stuck_for(self.meters.clock.elapsed());
            if let Some(why) = trouble {
                self.fail(i, why);
            } else if stuck > self.options.drafter_hang {
                self.fail(i, &format!("no answer for {:.0} s", stuck.as_secs_f64()));
            }
        }
    }

    /// Says whether those on lanes of their own shall rest. They notice with the next message.
    pub(crate) fn rest(&self, rests: bool) {
        for slot in &self.slots {
            if let State::There(link) = &slot.state {
                link.rest(rests);
            }
        }
    }

    /// Waits for one of them, or a command. What a drafter says is heard afterwards.
    pub(crate) fn wait(&mut self, inbox: &Receiver<Command>, most: Duration) -> Option<Command> {
        let mut select = Select::new();
        let command = select.recv(inbox);
        let mut links = Vec::new();
        let mut until = Instant::now() + most;
        for (place, slot) in self.slots.iter().enumerate() {
            let State::There(link) = &slot.state else {
                continue;
            };
            match link.from.next() {
                Ok(due) => until = until.min(due),
                Err(receiver) => links.push((select.recv(receiver), place, receiver)),
            }
        }
        let operation = select.select_deadline(until).ok()?;
        if operation.index() == command {
            return operation.recv(inbox).ok();
        }
        let ready = links.iter().find(|l| l.0 == operation.index());
        let coming = ready.map(|&(_, place, receiver)| (place, operation.recv(receiver).ok()));
        if let Some((place, Some(message))) = coming
            && let Some(slot) = self.slots.get_mut(place)
            && let State::There(link) = &mut slot.state
        {
            link.from.take_in(message);
        }
        None
    }

    /// Ends them. One that hangs is left behind.
    pub(crate) fn end(self) {
        let hang = self.options.drafter_hang;
        let clock = self.meters.clock;
        let mut threads = Vec::new();
        for slot in self.slots {
            if let State::There(link) = slot.state
                && let Some((thread, pulse)) = link.hang_up()
            {
                threads.push((slot.source, thread, pulse));
            }
        }
        let since = Instant::now();
        for (source, thread, pulse) in threads {
            let too_long = |_| since.elapsed() > PATIENCE || pulse.busy_for(clock.elapsed()) > hang;
            if join_unless(thread, too_long).is_none() {
                tracing::warn!(
                    "the {} model hangs and is left behind as it is",
                    source.name()
                );
            }
        }
    }

    fn fail(&mut self, i: usize, why: &str) {
        let slot = &mut self.slots[i];
        if slot.since.elapsed() > SOUND {
            slot.pause.reset();
        }
        let pause = slot.pause.fail();
        let back = match slot.again {
            Some(_) => format!("it is tried again in {pause:?}"),
            None => "the target goes on without it".to_owned(),
        };
        tracing::warn!("the {} model stops: {why}; {back}", slot.source.name());
        let next = match slot.again {
            Some(_) => State::Down {
                until: Instant::now() + pause,
            },
            None => State::Gone,
        };
        let before = std::mem::replace(&mut slot.state, next);
        if let State::There(link) = before
            && let Some((thread, _)) = link.hang_up()
        {
            // It ends once it notices, if it ever does.
            self.left.push(thread);
        }
        self.changed = true;
        self.meters.failures.fetch_add(1, Ordering::Relaxed);
    }
}

fn hears(own: &Option<String>, scope: Option<&str>) -> bool {
    own.is_none() || own.as_deref() == scope
}

impl Slot {
    /// Whether it drafts for requests of this scope.
    fn hears(&self, scope: Option<&str>) -> bool {
        hears(&self.scope, scope)
    }

    /// See [`State::tell`].
    fn tell(&mut self, input: &DraftInput, now: Duration) -> Result<(), &'static str> {
        self.state.tell(input, now)
    }
}

impl State {
    /// Tells it something.
    ///
    /// # Errors
    /// If it is of no use any more, for this reason.
    fn tell(&mut self, input: &DraftInput, now: Duration) -> Result<(), &'static str> {
        match self {
            State::Here(lane) => {
                let input = input.clone();
                // What a panic leaves behind is thrown away with the lane.
                std::panic::catch_unwind(AssertUnwindSafe(|| lane.handle(input)))
                    .map_err(|_| PANICKED)
            }
            State::There(link) => link.tell(input, now),
            _ => Ok(()),
        }
    }
}

fn make_again(mut again: Again, latency: Duration) -> State {
    let (sender, made) = bounded(1);
    let thread = std::thread::Builder::new().name("card-revive".into());
    let started = thread.spawn(move || {
        let fresh = match &mut again {
            Again::Model(make) => make().map(Fresh::Model),
            Again::Dial(dial) => {
                let (near, far) = ends(latency);
                dial(far).map(|()| Fresh::Linked(near))
            }
        };
        let _ = sender.send((again, fresh));
    });
    match started {
        Ok(_) => State::Coming(made),
        Err(_) => State::Gone,
    }
}
