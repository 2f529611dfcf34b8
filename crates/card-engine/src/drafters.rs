//! The draft models as the target's thread sees them: here or on lanes of their own, at
//! work, down, or on their way back.
//!
//! A drafter that fails, panics or hangs costs speed and nothing else. It is made anew,
//! after a pause that doubles each time it fails again, by a thread that the target does
//! not wait for.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use card_core::backoff::Backoff;
use card_core::drafter::{DraftInput, Drafted, Share};
use card_core::engine::Engine;
use card_core::forward::Model;
use card_core::policy::{Lanes, Outlook};
use card_core::types::Source;
use crossbeam_channel::{Receiver, Select, TryRecvError, TrySendError, bounded};

use crate::draft_lane::DraftLane;
use crate::pipe::{PipeReceiver, PipeSender, pipe};
use crate::{Command, Meters, Options};

/// Makes a draft model anew after it failed; says why it cannot.
pub type MakeModel = Box<dyn FnMut() -> Result<Box<dyn Model + Send>, String> + Send>;

/// What a target holds of a drafter elsewhere.
pub struct TargetEnd {
    /// What the drafter is told.
    pub to: PipeSender<DraftInput>,
    /// What it drafted.
    pub from: PipeReceiver<Drafted>,
}

/// What a drafter, or the link to it, holds.
pub struct DraftEnd {
    /// What it is told.
    pub inbox: PipeReceiver<DraftInput>,
    /// What it drafted.
    pub outbox: PipeSender<Drafted>,
}

/// Both ends of the channels between a target and a drafter.
pub fn ends(latency: Duration) -> (TargetEnd, DraftEnd) {
    let (to, inbox) = pipe(256, latency);
    let (outbox, from) = pipe(256, latency);
    (TargetEnd { to, from }, DraftEnd { inbox, outbox })
}

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
const ENDED: &str = "its thread has ended";
const LOST: &str = "the connection is lost";

/// All draft models of an engine.
pub(crate) struct Drafters {
    slots: Vec<Slot>,
    options: Options,
    meters: Arc<Meters>,
    /// Somebody came or went since that was last asked.
    changed: bool,
}

struct Slot {
    source: Source,
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
    There(Link),
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

/// The channels to a drafter on another lane.
struct Link {
    to: PipeSender<DraftInput>,
    from: PipeReceiver<Drafted>,
    /// What did not fit into the channel yet; commits of one sequence are joined.
    backlog: VecDeque<DraftInput>,
    /// `None` if it is on another machine.
    thread: Option<JoinHandle<()>>,
    pulse: Arc<Pulse>,
}

/// What a drafter's thread is at.
#[derive(Default)]
pub(crate) struct Pulse {
    /// When it began the step it is in.
    began: AtomicU64,
    /// It shall take none.
    rests: AtomicBool,
}

impl Pulse {
    /// A step begins, `now` after the lane did.
    pub(crate) fn begin(&self, now: Duration) {
        self.began
            .store((now.as_millis() as u64).max(1), Ordering::Relaxed);
    }

    /// It is done.
    pub(crate) fn end(&self) {
        self.began.store(0, Ordering::Relaxed);
    }

    /// Whether it shall take no step until it hears something.
    pub(crate) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    fn busy_for(&self, now: Duration) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => now.saturating_sub(Duration::from_millis(began)),
        }
    }
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
        };
        let (away, here): (Vec<_>, Vec<_>) = drafts.partition(Draft::is_remote);
        for (draft, source) in here.into_iter().zip(sources) {
            if let Some(model) = draft.model {
                let state = all.at_work(model, source)?;
                all.add(source, state, draft.again, None);
            }
        }
        for draft in away {
            let until = Instant::now();
            all.add(
                all.remote_source(),
                State::Down { until },
                draft.again,
                None,
            );
        }
        Ok(all)
    }

    fn add(&mut self, source: Source, state: State, again: Option<Again>, scope: Option<String>) {
        self.slots.push(Slot {
            source,
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
        let local = |s: &Slot| matches!(s.again, Some(Again::Model(_)) | None);
        match self.slots.iter().any(|s| s.scope.is_none() && local(s)) {
            true => Source::Draft2,
            false => Source::Draft,
        }
    }

    /// A drafter elsewhere has come. With a scope it is only for requests that name it.
    pub(crate) fn attach(&mut self, end: TargetEnd, scope: Option<String>) {
        self.slots
            .retain(|s| s.again.is_some() || !matches!(s.state, State::Gone));
        let state = State::There(Link::remote(end));
        self.add(self.remote_source(), state, None, scope);
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
            self.slots[i].tell(&DraftInput::Share(share));
        }
    }

    /// Whether somebody drafts for requests of this scope.
    pub(crate) fn hears(&self, scope: Option<&str>) -> bool {
        let at_work = |s: &&Slot| matches!(s.state, State::Here(_) | State::There(_));
        self.slots.iter().filter(at_work).any(|s| s.hears(scope))
    }

    /// Tells a new drafter, or all that came since, of what runs: `introductions` are the
    /// sequences with their scopes.
    pub(crate) fn introduce_to_last(&mut self, introductions: &[(DraftInput, Option<String>)]) {
        if let Some(slot) = self.slots.last_mut() {
            for (input, scope) in introductions {
                if slot.hears(scope.as_deref()) {
                    slot.tell(input);
                }
            }
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
        Ok(State::There(Link {
            thread: Some(thread),
            pulse,
            ..Link::remote(near)
        }))
    }

    /// Brings back who is due. The engine's sequences are told to whoever is new.
    pub(crate) fn revive(&mut self, introduce: &dyn Fn() -> Vec<(DraftInput, Option<String>)>) {
        for i in 0..self.slots.len() {
            let slot = &mut self.slots[i];
            match &slot.state {
                State::Down { until } if Instant::now() >= *until => {
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
                            Fresh::Linked(end) => Ok(State::There(Link::remote(end))),
                        });
                        self.introduce(i, made, introduce);
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => slot.state = State::Gone,
                },
                _ => {}
            }
        }
    }

    fn introduce(
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
                for (input, scope) in introduce() {
                    if slot.hears(scope.as_deref()) {
                        slot.tell(&input);
                    }
                }
            }
            Err(why) => self.fail(i, &why),
        }
    }

    /// What those that share the lane would do next.
    pub(crate) fn outlooks(&mut self) -> Vec<Outlook> {
        let next = |slot: &mut Slot| match &mut slot.state {
            State::Here(lane) => lane.outlook(),
            _ => None,
        };
        self.slots.iter_mut().filter_map(next).collect()
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
                self.fail(i, "it panicked");
                None
            }
        }
    }

    /// Tells those that draft for requests of this scope.
    pub(crate) fn tell(&mut self, input: &DraftInput, scope: Option<&str>) {
        for i in 0..self.slots.len() {
            if !self.slots[i].hears(scope) {
                continue;
            }
            if !self.slots[i].tell(input) {
                self.fail(i, ENDED);
            }
        }
    }

    /// Passes on what those on other lanes drafted, and notices who hangs.
    pub(crate) fn hear(&mut self, engine: &mut Engine) {
        for i in 0..self.slots.len() {
            let Slot { state, source, .. } = &mut self.slots[i];
            let State::There(link) = state else {
                continue;
            };
            let mut alive = link.send(None);
            loop {
                match link.from.try_recv() {
                    Ok(mut drafted) => {
                        // Who it is, is not for the other side to say.
                        drafted.source = *source;
                        if link.thread.is_none() {
                            self.meters.draft(drafted.elapsed);
                        }
                        engine.drafted(&drafted, self.meters.clock.elapsed());
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        alive = false;
                        break;
                    }
                }
            }
            let busy = link.pulse.busy_for(self.meters.clock.elapsed());
            if !alive {
                let remote = link.thread.is_none();
                self.fail(i, if remote { LOST } else { ENDED });
            } else if busy > self.options.drafter_hang {
                self.fail(i, &format!("no answer for {:.0} s", busy.as_secs_f64()));
            }
        }
    }

    /// Says whether those on lanes of their own shall rest. They notice with the next message.
    pub(crate) fn rest(&self, rests: bool) {
        for slot in &self.slots {
            if let State::There(link) = &slot.state {
                link.pulse.rests.store(rests, Ordering::Relaxed);
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
        for slot in self.slots {
            if let State::There(link) = slot.state {
                drop((link.to, link.from));
                let _ = link.thread.map(JoinHandle::join);
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
        slot.state = match slot.again {
            Some(_) => State::Down {
                until: Instant::now() + pause,
            },
            None => State::Gone,
        };
        self.changed = true;
        self.meters.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Slot {
    /// Whether it drafts for requests of this scope.
    fn hears(&self, scope: Option<&str>) -> bool {
        self.scope.is_none() || self.scope.as_deref() == scope
    }

    /// `false` if nobody listens any more.
    fn tell(&mut self, input: &DraftInput) -> bool {
        match &mut self.state {
            State::Here(lane) => {
                lane.handle(input.clone());
                true
            }
            State::There(link) => link.send(Some(input.clone())),
            _ => true,
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

impl Link {
    /// To a drafter on another machine.
    fn remote(end: TargetEnd) -> Self {
        Link {
            to: end.to,
            from: end.from,
            backlog: VecDeque::new(),
            thread: None,
            pulse: Arc::default(),
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
