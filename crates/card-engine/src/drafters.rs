//! The draft models as the target's thread sees them: here or on lanes of their own, at
//! work, down, or on their way back.
//!
//! A drafter that fails, panics or hangs costs speed and nothing else. It is made anew,
//! after a pause that doubles each time it fails again, by a thread that the target does
//! not wait for.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use card_core::drafter::{DraftInput, Drafted};
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

/// A draft model, and how it comes back after a failure.
pub struct Draft {
    model: Box<dyn Model + Send>,
    again: Option<MakeModel>,
}

impl Draft {
    /// One that is made anew by `again`.
    pub fn new(model: Box<dyn Model + Send>, again: MakeModel) -> Self {
        Draft {
            model,
            again: Some(again),
        }
    }
}

impl From<Box<dyn Model + Send>> for Draft {
    /// One that stays away once it failed.
    fn from(model: Box<dyn Model + Send>) -> Self {
        Draft { model, again: None }
    }
}

/// Longest pause before a drafter is made anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// At work for this long, a drafter's earlier failures are forgotten.
const SOUND: Duration = Duration::from_secs(120);

/// All draft models of an engine.
pub(crate) struct Drafters {
    slots: Vec<Slot>,
    options: Options,
    meters: Arc<Meters>,
}

struct Slot {
    source: Source,
    state: State,
    again: Option<MakeModel>,
    pause: Duration,
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

type Made = (MakeModel, Result<Box<dyn Model + Send>, String>);

/// The channels to a drafter on another lane.
struct Link {
    to: PipeSender<DraftInput>,
    from: PipeReceiver<Drafted>,
    /// What did not fit into the channel yet; commits of one sequence are joined.
    backlog: VecDeque<DraftInput>,
    thread: JoinHandle<()>,
    pulse: Arc<Pulse>,
}

/// When a drafter began the step it is in.
#[derive(Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    /// A step begins, `now` after the lane did.
    pub(crate) fn begin(&self, now: Duration) {
        self.0
            .store((now.as_millis() as u64).max(1), Ordering::Relaxed);
    }

    /// It is done.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn busy_for(&self, now: Duration) -> Duration {
        match self.0.load(Ordering::Relaxed) {
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
        };
        for (draft, source) in drafts.zip(sources) {
            let state = all.at_work(draft.model, source)?;
            all.slots.push(Slot {
                source,
                state,
                again: draft.again,
                pause: all.options.drafter_pause,
                since: Instant::now(),
            });
        }
        Ok(all)
    }

    /// Whether one of them is at work.
    pub(crate) fn any(&self) -> bool {
        let at_work = |s: &Slot| matches!(s.state, State::Here(_) | State::There(_));
        let count = self.slots.iter().filter(|s| at_work(s)).count();
        self.meters.drafters.store(count as u64, Ordering::Relaxed);
        count > 0
    }

    fn at_work(&self, model: Box<dyn Model + Send>, source: Source) -> std::io::Result<State> {
        let lane = DraftLane::new(model, source, &self.options, self.meters.clock);
        if self.options.lanes == Lanes::Shared {
            return Ok(State::Here(Box::new(lane)));
        }
        let (to, mut inbox) = pipe(256, self.options.latency);
        let (outbox, from) = pipe(256, self.options.latency);
        let (meters, pulse) = (self.meters.clone(), Arc::new(Pulse::default()));
        let name = format!("card-{}", source.name());
        let beat = pulse.clone();
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || lane.run(&mut inbox, &outbox, &meters, &beat))?;
        Ok(State::There(Link {
            to,
            from,
            backlog: VecDeque::new(),
            thread,
            pulse,
        }))
    }

    /// Brings back who is due. The engine's sequences are told to whoever is new.
    pub(crate) fn revive(&mut self, engine: &Engine) {
        for i in 0..self.slots.len() {
            let slot = &mut self.slots[i];
            match &slot.state {
                State::Down { until } if Instant::now() >= *until => {
                    slot.state = match slot.again.take() {
                        Some(make) => make_again(make),
                        None => State::Gone,
                    };
                }
                State::Coming(made) => match made.try_recv() {
                    Ok((again, made)) => {
                        slot.again = Some(again);
                        let source = slot.source;
                        let made = made.and_then(|model| {
                            self.at_work(model, source).map_err(|e| e.to_string())
                        });
                        self.introduce(i, made, engine);
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => slot.state = State::Gone,
                },
                _ => {}
            }
        }
    }

    fn introduce(&mut self, i: usize, made: Result<State, String>, engine: &Engine) {
        match made {
            Ok(state) => {
                let slot = &mut self.slots[i];
                slot.state = state;
                slot.since = Instant::now();
                tracing::info!("the {} model is back", slot.source.name());
                for input in engine.introductions() {
                    slot.tell(&input);
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

    /// Tells all of them.
    pub(crate) fn tell(&mut self, input: &DraftInput) {
        for i in 0..self.slots.len() {
            if !self.slots[i].tell(input) {
                self.fail(i, "its thread has ended");
            }
        }
    }

    /// Passes on what those on other lanes drafted, and notices who hangs.
    pub(crate) fn hear(&mut self, engine: &mut Engine) {
        for i in 0..self.slots.len() {
            let State::There(link) = &mut self.slots[i].state else {
                continue;
            };
            let mut alive = link.send(None);
            loop {
                match link.from.try_recv() {
                    Ok(drafted) => engine.drafted(&drafted, self.meters.clock.elapsed()),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        alive = false;
                        break;
                    }
                }
            }
            let busy = link.pulse.busy_for(self.meters.clock.elapsed());
            if !alive {
                self.fail(i, "its thread has ended");
            } else if busy > self.options.drafter_hang {
                self.fail(i, &format!("no answer for {:.0} s", busy.as_secs_f64()));
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
                let _ = link.thread.join();
            }
        }
    }

    fn fail(&mut self, i: usize, why: &str) {
        let slot = &mut self.slots[i];
        if slot.since.elapsed() > SOUND {
            slot.pause = self.options.drafter_pause;
        }
        let back = match slot.again {
            Some(_) => format!("it is tried again in {:?}", slot.pause),
            None => "the target goes on without it".to_owned(),
        };
        tracing::warn!("the {} model stops: {why}; {back}", slot.source.name());
        slot.state = match slot.again {
            Some(_) => State::Down {
                until: Instant::now() + slot.pause,
            },
            None => State::Gone,
        };
        slot.pause = (2 * slot.pause).min(LONGEST_PAUSE);
        self.meters.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Slot {
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

fn make_again(mut make: MakeModel) -> State {
    let (sender, made) = bounded(1);
    let thread = std::thread::Builder::new().name("card-revive".into());
    let started = thread.spawn(move || {
        let model = make();
        let _ = sender.send((make, model));
    });
    match started {
        Ok(_) => State::Coming(made),
        Err(_) => State::Gone,
    }
}

impl Link {
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
