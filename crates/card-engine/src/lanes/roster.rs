//! All drafters of an engine, as the target's thread sees them: who hears of which sequence,
//! who shares the tree with whom, who is brought back.
//!
//! A drafter that fails, panics, hangs or floods the target costs speed and nothing else. It
//! is started again, after a pause that doubles each time it fails again, by a thread that the
//! target does not wait for.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use card_core::backoff::Backoff;
use card_core::cost::CostCurve;
use card_core::driver::SharedLane;
use card_core::forward::Model;
use card_core::protocol::{DraftInput, DraftPlan, DraftShare, Drafted, Lanes, Outlook};
use card_core::scheduler::Scheduler;
use card_core::types::{DRAFTERS, Source, Tenant, TextMark, Token};
use crossbeam_channel::{Receiver, Select};

use super::command::{Attachment, Command};
use super::draft::{Draft, Revival, Revived};
use super::lane::{DraftLane, LANE_STACK};
use super::lifecycle::{LifeState, Lifecycle};
use super::link::{Link, MOST_EXPANSIONS, MOST_MESSAGES, ends};
use super::member::{Member, Worker};
use crate::meters::Meters;
use crate::options::Options;
use crate::pulse::{Pulse, join_unless};

/// Threads of drafters that hang and were left behind, each with its model. With so many of
/// them no draft model of this machine is made anew until one ends.
const MOST_LEFT: usize = 4;
/// Longest wait for the threads of drafters when the engine ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// All drafters of an engine. See the [module](self) documentation.
pub(crate) struct Roster {
    members: Vec<Member>,
    settings: LaneSettings,
    meters: Arc<Meters>,
    /// Whether a drafter came or went since that was last asked.
    changed: bool,
    /// Threads that did not end when they should have.
    left: Vec<JoinHandle<()>>,
}

/// What every drafter of an engine is started with.
struct LaneSettings {
    plan: DraftPlan,
    costs: [CostCurve; DRAFTERS],
    head_cost: CostCurve,
    latency: Duration,
    hang: Duration,
    pause: Backoff,
}

/// What a drafter is told of a running sequence.
pub(crate) struct Introduction {
    /// The message.
    pub(crate) input: DraftInput,
    /// The scope of the sequence's request.
    pub(crate) scope: Option<String>,
}

impl Roster {
    /// Starts them, each as its own source.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(
        drafts: impl Iterator<Item = Draft>,
        options: &Options,
        meters: Arc<Meters>,
    ) -> std::io::Result<Self> {
        let mut all = Roster {
            members: Vec::new(),
            settings: LaneSettings {
                plan: options.draft_plan(),
                costs: options.draft_costs.clone(),
                head_cost: options.head_cost.clone(),
                latency: options.latency,
                hang: options.drafter_hang,
                pause: Backoff::DRAFTER.starting(options.drafter_pause),
            },
            meters,
            changed: true,
            left: Vec::new(),
        };
        let sources = Source::ALL.into_iter().filter(|s| s.drafter().is_some());
        let (away, here): (Vec<_>, Vec<_>) = drafts.partition(Draft::is_remote);
        let (heads, here): (Vec<_>, Vec<_>) = here.into_iter().partition(|d| d.head);
        let here = here.into_iter().zip(sources);
        // A target has one head.
        let heads = heads.into_iter().take(1).map(|d| (d, Source::Head));
        for (draft, source) in here.chain(heads) {
            if let Some(model) = draft.model {
                all.add_local(model, source, draft.revival)?;
            }
        }
        for draft in away {
            all.add_dialled(draft.revival);
        }
        Ok(all)
    }

    /// Adds a draft model of this machine.
    fn add_local(
        &mut self,
        model: Box<dyn Model + Send>,
        source: Source,
        revival: Option<Revival>,
    ) -> std::io::Result<()> {
        let worker = self.employ(model, source)?;
        let life = Lifecycle::working(revival.is_some(), self.settings.pause, self.meters.now());
        self.add(Member {
            source,
            remote: false,
            scope: None,
            life,
            worker,
            revival,
        });
        Ok(())
    }

    /// Adds a drafter on another machine, which is dialled as soon as possible.
    fn add_dialled(&mut self, revival: Option<Revival>) {
        self.add(Member {
            source: self.remote_source(),
            remote: true,
            scope: None,
            life: Lifecycle::to_be_started(self.settings.pause, self.meters.now()),
            worker: Worker::None,
            revival,
        });
    }

    /// Adds a drafter on another machine that came by itself, and tells it of what runs.
    pub(crate) fn attach(&mut self, new: Attachment, introductions: &[Introduction]) {
        // One that was dialled comes back; one that came by itself does so as a new one.
        self.members.retain(|m| !m.life.has_left());
        let link = Link::remote(new.end, Some(new.permit));
        self.add(Member {
            source: self.remote_source(),
            remote: true,
            scope: new.scope,
            life: Lifecycle::working(false, self.settings.pause, self.meters.now()),
            worker: Worker::Linked(Box::new(link)),
            revival: None,
        });
        self.introduce(self.members.len() - 1, introductions);
    }

    fn add(&mut self, member: Member) {
        self.members.push(member);
        self.changed = true;
    }

    /// The source under which the proposals of drafters on other machines count.
    fn remote_source(&self) -> Source {
        if self.members.iter().any(|m| !m.remote && !m.is_head()) {
            Source::Draft2
        } else {
            Source::Draft
        }
    }

    /// Puts a model to work: on the target's thread, or on a lane of its own. A head is always on
    /// the target's thread.
    fn employ(&self, model: Box<dyn Model + Send>, source: Source) -> std::io::Result<Worker> {
        let mut plan = self.settings.plan;
        let cost = if source == Source::Head {
            plan.lanes = Lanes::Shared;
            &self.settings.head_cost
        } else {
            &self.settings.costs[source.drafter().unwrap_or(0)]
        };
        let lane = DraftLane::new(model, source, &plan, cost, self.meters.clone());
        if plan.lanes == Lanes::Shared {
            return Ok(Worker::Local(Box::new(lane)));
        }
        let (near, mut far) = ends(self.settings.latency);
        let pulse = Arc::new(Pulse::default());
        let beat = pulse.clone();
        let thread = std::thread::Builder::new()
            .name(format!("card-{}", source.name()))
            .stack_size(LANE_STACK)
            .spawn(move || lane.run(&mut far, &beat))?;
        Ok(Worker::Linked(Box::new(Link::local(near, thread, pulse))))
    }

    /// Brings back who is due. Whoever is back is told of what runs.
    pub(crate) fn revive(&mut self, introductions: &dyn Fn() -> Vec<Introduction>) {
        self.left.retain(|thread| !thread.is_finished());
        let crowded = self.left.len() >= MOST_LEFT;
        for i in 0..self.members.len() {
            let now = self.meters.now();
            let member = &mut self.members[i];
            match member.life.state() {
                LifeState::Paused { .. } => {
                    member.start_if_due(crowded, self.settings.latency, now);
                }
                LifeState::Starting => {
                    if let Some(revived) = member.started(now) {
                        self.put_to_work(i, revived, introductions);
                    }
                }
                LifeState::Working | LifeState::Stopped => {}
            }
        }
    }

    /// The drafter is back, or could not be brought back for this reason.
    fn put_to_work(
        &mut self,
        i: usize,
        revived: Result<Revived, String>,
        introductions: &dyn Fn() -> Vec<Introduction>,
    ) {
        let source = self.members[i].source;
        let worker = revived.and_then(|revived| match revived {
            Revived::Model(model) => self.employ(model, source).map_err(|e| e.to_string()),
            Revived::Linked(end) => Ok(Worker::Linked(Box::new(Link::remote(end, None)))),
        });
        match worker {
            Ok(worker) => {
                self.changed = true;
                self.members[i].begin(worker, self.meters.now());
                tracing::info!("the {} model is at work", source.name());
                self.introduce(i, &introductions());
            }
            Err(why) => self.fail(i, &why),
        }
    }

    /// Tells a drafter of the running sequences that it drafts for.
    fn introduce(&mut self, i: usize, introductions: &[Introduction]) {
        let now = self.meters.now();
        let member = &mut self.members[i];
        let told = introductions.iter().try_for_each(|introduction| {
            if member.hears(introduction.scope.as_deref()) {
                member.tell(&introduction.input, now)
            } else {
                Ok(())
            }
        });
        if let Err(why) = told {
            self.fail(i, why);
        }
    }

    /// Whether a drafter came or went since the last call. If so the tree is shared out anew.
    pub(crate) fn take_changed(&mut self) -> bool {
        let changed = std::mem::take(&mut self.changed);
        if changed {
            self.share_out();
        }
        changed
    }

    /// Gives every drafter with a link its share of the tree. Drafters of one source and one
    /// scope share a tree.
    fn share_out(&mut self) {
        let groups: Vec<_> = self
            .members
            .iter()
            .map(|m| m.is_linked().then(|| (m.source, m.scope.clone())))
            .collect();
        for (i, group) in groups.iter().enumerate() {
            if group.is_none() {
                continue;
            }
            let share = DraftShare {
                index: groups[..i].iter().filter(|g| *g == group).count() as u32,
                of: groups.iter().filter(|g| *g == group).count() as u32,
            };
            let told = self.members[i].tell(&DraftInput::Share(share), self.meters.now());
            if let Err(why) = told {
                self.fail(i, why);
            }
        }
    }

    /// Whether a working drafter drafts for requests of this scope. The target's head does for all,
    /// and is none that the target could wait for.
    pub(crate) fn hears(&self, scope: Option<&str>) -> bool {
        self.working().any(|m| m.hears(scope))
    }

    /// The drafters that work, beside the target's head.
    fn working(&self) -> impl Iterator<Item = &Member> {
        let working = self.members.iter().filter(|m| m.life.is_working());
        working.filter(|m| !m.is_head())
    }

    /// Number of drafters that work, which is metered.
    pub(crate) fn count_working(&self) -> usize {
        let count = self.working().count();
        self.meters.set_drafters(count);
        count
    }

    /// Tells the drafters that draft for requests of this scope.
    pub(crate) fn tell(&mut self, input: &DraftInput, scope: Option<&str>) {
        let now = self.meters.now();
        for i in 0..self.members.len() {
            let member = &mut self.members[i];
            if member.hears(scope)
                && let Err(why) = member.tell(input, now)
            {
                self.fail(i, why);
            }
        }
    }

    /// Tells all drafters that a text of a tenant is to be forgotten: whoever had a part of it has
    /// heard that its sequence is over.
    pub(crate) fn forget(&mut self, tenant: Tenant, text: &[Token]) {
        let input = DraftInput::Forget {
            tenant,
            text: TextMark::of(text),
        };
        let now = self.meters.now();
        for i in 0..self.members.len() {
            if let Err(why) = self.members[i].tell(&input, now) {
                self.fail(i, why);
            }
        }
    }

    /// Carries out what is due in the KV caches of the drafters on the target's lane, since nobody
    /// knows when they take their next steps.
    pub(crate) fn apply_due(&mut self) {
        for i in 0..self.members.len() {
            if let Err(why) = self.members[i].apply_due() {
                self.fail(i, &why);
            }
        }
    }

    /// Passes on what the drafters on other lanes drafted, and notices which of them hang. If
    /// one says more than the target can take in beside its work, the rest waits for the next
    /// call.
    pub(crate) fn hear(&mut self, scheduler: &mut Scheduler) {
        for i in 0..self.members.len() {
            let member = &mut self.members[i];
            let Worker::Linked(link) = &mut member.worker else {
                continue;
            };
            let heard = take_in(link, member.source, &self.meters, scheduler);
            let stuck = link.stuck_for(self.meters.now());
            if let Err(why) = heard {
                self.fail(i, why);
            } else if stuck > self.settings.hang {
                self.fail(i, &format!("no answer for {:.0} s", stuck.as_secs_f64()));
            }
        }
    }

    /// Shuts or opens the gate of the drafters on lanes of their own. They notice with the
    /// next message.
    pub(crate) fn gate(&self, gated: bool) {
        for member in &self.members {
            if let Worker::Linked(link) = &member.worker {
                link.gate(gated);
            }
        }
    }

    /// Waits for a message of a drafter, or a command, at most so long. A drafter's message is
    /// taken in by the next [`Roster::hear`].
    pub(crate) fn wait(&mut self, inbox: &Receiver<Command>, most: Duration) -> Option<Command> {
        let mut select = Select::new();
        let command = select.recv(inbox);
        let mut links = Vec::new();
        let mut until = Instant::now() + most;
        for (i, member) in self.members.iter().enumerate() {
            let Worker::Linked(link) = &member.worker else {
                continue;
            };
            match link.from.next() {
                Ok(due) => until = until.min(due),
                Err(receiver) => links.push((select.recv(receiver), i, receiver)),
            }
        }
        let operation = select.select_deadline(until).ok()?;
        if operation.index() == command {
            return operation.recv(inbox).ok();
        }
        let ready = links.iter().find(|l| l.0 == operation.index());
        let coming = ready.map(|&(_, i, receiver)| (i, operation.recv(receiver).ok()));
        if let Some((i, Some(message))) = coming
            && let Some(member) = self.members.get_mut(i)
            && let Worker::Linked(link) = &mut member.worker
        {
            link.from.take_in(message);
        }
        None
    }

    /// Ends the drafters. Threads that hang are left behind.
    pub(crate) fn end(self) {
        let mut threads = Vec::new();
        for member in self.members {
            if let Worker::Linked(link) = member.worker
                && let Some((thread, pulse)) = link.hang_up()
            {
                threads.push((member.source, thread, pulse));
            }
        }
        let since = Instant::now();
        let (meters, hang) = (self.meters, self.settings.hang);
        for (source, thread, pulse) in threads {
            let too_long = |_| since.elapsed() > PATIENCE || pulse.busy_for(meters.now()) > hang;
            if join_unless(thread, too_long).is_none() {
                tracing::warn!(
                    "the {} model hangs and is left behind as it is",
                    source.name()
                );
            }
        }
    }

    /// The drafter is of no use any more, for this reason.
    fn fail(&mut self, i: usize, why: &str) {
        let thread = self.members[i].fail(why, self.meters.now());
        self.left.extend(thread);
        self.changed = true;
        self.meters.drafter_failed();
    }

    /// Lets the drafter of this source take a step on the target's lane; `None` if it took
    /// none.
    fn step(&mut self, source: Source) -> Option<Drafted> {
        let i = self.members.iter().position(|m| m.source == source)?;
        match self.members[i].step() {
            Ok(drafted) => drafted,
            Err(why) => {
                self.fail(i, &why);
                None
            }
        }
    }
}

impl SharedLane for Roster {
    fn outlooks(&mut self) -> Vec<Outlook> {
        let mut outlooks = Vec::new();
        for i in 0..self.members.len() {
            match self.members[i].outlook() {
                Ok(outlook) => outlooks.extend(outlook),
                Err(why) => self.fail(i, why),
            }
        }
        outlooks
    }

    fn draft(&mut self, source: Source, _now: Duration, scheduler: &mut Scheduler) -> bool {
        let Some(drafted) = self.step(source) else {
            return false;
        };
        scheduler.drafted(&drafted, self.meters.now());
        true
    }
}

/// Takes in what a link brought.
///
/// # Errors
/// If the link is of no use any more, for this reason.
fn take_in(
    link: &mut Link,
    source: Source,
    meters: &Meters,
    scheduler: &mut Scheduler,
) -> Result<(), &'static str> {
    link.flush()?;
    let mut expansions = 0;
    for _ in 0..MOST_MESSAGES {
        if expansions >= MOST_EXPANSIONS {
            break;
        }
        let Some(mut drafted) = link.hear()? else {
            break;
        };
        // The other side does not choose the source under which its drafts count.
        drafted.source = source;
        expansions += drafted.expansions.len();
        let now = meters.now();
        if !link.believes(drafted.elapsed, now) {
            // Its candidates are taken like any others: the target verifies them. Its times are not
            // believed, so nothing is learned from them.
            for e in &drafted.expansions {
                scheduler.propose(e.sequence, e.root, &e.path, &e.children, source);
            }
            continue;
        }
        if link.is_remote() {
            meters.draft(drafted.elapsed);
        }
        scheduler.drafted(&drafted, meters.now());
    }
    Ok(())
}
