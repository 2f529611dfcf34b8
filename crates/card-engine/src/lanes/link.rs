//! The channels to a drafter on another lane, on this machine or another.
//!
//! The target never waits for a drafter. Messages that a drafter does not take wait in an
//! [`Outbox`]. If the outbox overflows, or the drafter owes an answer for too long, the link
//! is of no use and is dropped; a drafter that comes back is told of every sequence anew.
//!
//! Invariants: what a drafter says of a sequence that it was not told of is left out; the target
//! takes in a bounded number of its expansions in each round; the times that it claims for its
//! forwards add up to no more than the time for which it has been there.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use card_core::protocol::{DraftInput, Drafted};
use card_core::types::{SequenceId, Tenant};
use crossbeam_channel::{TryRecvError, TrySendError};

use super::outbox::Outbox;
use super::permits::AttachPermit;
use super::pipe::{PipeReceiver, PipeSender, pipe};
use crate::pulse::Pulse;

/// Expansions that are taken of one message, and after which no further message of the drafter
/// is taken in a round.
pub(super) const MOST_EXPANSIONS: usize = 1024;
/// Messages of one drafter that are taken in a round; the others wait for the next round.
pub(super) const MOST_MESSAGES: usize = 64;
/// Children that are taken of one expansion, the first ones.
const MOST_CHILDREN: usize = 64;
/// Longest path of an expansion, in tokens. No sound drafter drafts further ahead.
const MOST_PATH: usize = 4096;
/// Longest time that is believed of one forward of a drafter on another machine.
const LONGEST_FORWARD: Duration = Duration::from_secs(60);
/// Allowance for clocks of two machines that do not go at quite the same speed.
const SLACK: Duration = Duration::from_secs(1);
/// Number of unanswered messages from which on the time without an answer counts: after a
/// single message a sound drafter may have nothing to say.
const UNANSWERED: u32 = 4;

/// Tenants that are known apart.
const MOST_TENANTS: usize = 1 << 16;
/// Messages that one channel holds, each way.
const CAPACITY: usize = 256;

const ENDED: &str = "its thread has ended";
const LOST: &str = "the connection is lost";
const OVERFLOW: &str = "it does not take what it is told";

/// The target's end of the channels to a drafter.
pub struct TargetEnd {
    /// Messages to the drafter.
    pub to: PipeSender<DraftInput>,
    /// The drafter's expansions.
    pub from: PipeReceiver<Drafted>,
}

/// The drafter's end of the channels, held by the drafter or by the connection to it.
pub struct DraftEnd {
    /// Messages of the target.
    pub inbox: PipeReceiver<DraftInput>,
    /// The drafter's expansions.
    pub outbox: PipeSender<Drafted>,
}

/// Both ends of the channels between a target and a drafter. A message takes `latency`, one
/// way.
pub fn ends(latency: Duration) -> (TargetEnd, DraftEnd) {
    let (to, inbox) = pipe(CAPACITY, latency);
    let (outbox, from) = pipe(CAPACITY, latency);
    (TargetEnd { to, from }, DraftEnd { inbox, outbox })
}

/// The channels to a drafter on another lane. See the [module](self) documentation.
pub(super) struct Link {
    to: PipeSender<DraftInput>,
    /// The drafter's messages as they come; [`Link::hear`] takes of them what is believed.
    pub(super) from: PipeReceiver<Drafted>,
    outbox: Outbox,
    /// Sequences that the drafter was told of and that still run.
    told: HashSet<SequenceId>,
    /// Tenants of whom it was told a text; [`MOST_TENANTS`] of them stand for all.
    tenants: HashSet<Tenant>,
    /// The answers that it owes.
    owed: Owed,
    /// When it was first told something.
    since: Option<Duration>,
    /// Time of all its forwards since then, as the drafter claims.
    claimed: Duration,
    /// The drafter's thread; `None` if the drafter is on another machine.
    thread: Option<JoinHandle<()>>,
    /// Heartbeat and gate of that thread; nobody reads it on another machine.
    pulse: Arc<Pulse>,
    /// The permit of a drafter that came by itself, given back when the link goes.
    _permit: Option<AttachPermit>,
}

impl Link {
    /// A link to a drafter on another machine, which has a permit if it came by itself.
    pub(super) fn remote(end: TargetEnd, permit: Option<AttachPermit>) -> Self {
        Link {
            to: end.to,
            from: end.from,
            outbox: Outbox::default(),
            told: HashSet::new(),
            tenants: HashSet::new(),
            owed: Owed::default(),
            since: None,
            claimed: Duration::ZERO,
            thread: None,
            pulse: Arc::default(),
            _permit: permit,
        }
    }

    /// A link to a drafter on a thread of this machine.
    pub(super) fn local(end: TargetEnd, thread: JoinHandle<()>, pulse: Arc<Pulse>) -> Self {
        Link {
            thread: Some(thread),
            pulse,
            ..Link::remote(end, None)
        }
    }

    /// Whether the drafter is on another machine.
    pub(super) fn is_remote(&self) -> bool {
        self.thread.is_none()
    }

    /// Shuts or opens the drafter's gate. A drafter on another machine does not notice.
    pub(super) fn gate(&self, gated: bool) {
        self.pulse.gate(gated);
    }

    /// Sends it a message, without ever waiting. A message about a sequence it was not told of
    /// is left out.
    ///
    /// # Errors
    /// If the link is of no use any more, for this reason.
    pub(super) fn tell(&mut self, input: &DraftInput, now: Duration) -> Result<(), &'static str> {
        self.since.get_or_insert(now);
        let news = match input {
            DraftInput::Open {
                sequence, tenant, ..
            } => {
                self.told.insert(*sequence);
                if self.tenants.len() < MOST_TENANTS {
                    self.tenants.insert(*tenant);
                }
                self.owed.told(now);
                true
            }
            DraftInput::Commit { sequence, .. } => {
                let known = self.told.contains(sequence);
                if known {
                    self.owed.told(now);
                }
                known
            }
            DraftInput::Close { sequence } => {
                let known = self.told.remove(sequence);
                if self.told.is_empty() {
                    // The drafter has no sequence to draft for, so it owes no answer.
                    self.owed = Owed::default();
                }
                known
            }
            // It asks for no answer. Its mark is of no use but to who was told the text.
            DraftInput::Forget { tenant, .. } => {
                self.tenants.contains(tenant) || self.tenants.len() == MOST_TENANTS
            }
            DraftInput::Share(_) => true,
        };
        if news {
            self.outbox.push(input.clone());
        }
        self.flush()
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// If the link is of no use any more, for this reason.
    pub(super) fn flush(&mut self) -> Result<(), &'static str> {
        while let Some(input) = self.outbox.pop() {
            match self.to.try_send(input) {
                Ok(()) => {}
                Err(TrySendError::Full(input)) => {
                    self.outbox.put_back(input);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => return Err(self.gone()),
            }
        }
        if self.outbox.overflows() {
            return Err(OVERFLOW);
        }
        Ok(())
    }

    /// The drafter's next message, as far as that is believed; `None` if there is none now.
    ///
    /// # Errors
    /// If the link is of no use any more, for this reason.
    pub(super) fn hear(&mut self) -> Result<Option<Drafted>, &'static str> {
        let mut drafted = match self.from.try_recv() {
            Ok(drafted) => drafted,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => return Err(self.gone()),
        };
        self.owed = Owed::default();
        drafted.expansions.truncate(MOST_EXPANSIONS);
        let told = &self.told;
        drafted
            .expansions
            .retain(|e| told.contains(&e.sequence) && e.path.len() <= MOST_PATH);
        for expansion in &mut drafted.expansions {
            expansion.children.truncate(MOST_CHILDREN);
        }
        Ok(Some(drafted))
    }

    /// Whether the time it says a forward took can be learned from, `now` after the engine
    /// started. All its forwards together took no longer than it has been there, so that one
    /// drafter's word cannot make all of them look slow.
    pub(super) fn believes(&mut self, time: Duration, now: Duration) -> bool {
        if !self.is_remote() {
            return true;
        }
        let there = now.saturating_sub(self.since.unwrap_or(now)) + SLACK;
        // A drafter that was silent for long earns no credit by that: it can claim the time of one
        // forward at most for it.
        let unclaimed = there.saturating_sub(LONGEST_FORWARD + SLACK);
        let claimed = self.claimed.max(unclaimed).saturating_add(time);
        let may_be = !time.is_zero() && time <= LONGEST_FORWARD && claimed <= there;
        if may_be {
            self.claimed = claimed;
        }
        may_be
    }

    /// How long the drafter has been at one step, or, on another machine, owes an answer.
    pub(super) fn stuck_for(&self, now: Duration) -> Duration {
        if self.is_remote() {
            self.owed.stands_for(now)
        } else {
            self.pulse.busy_for(now)
        }
    }

    /// Hangs up. Returns the drafter's thread if that is on this machine.
    pub(super) fn hang_up(self) -> Option<(JoinHandle<()>, Arc<Pulse>)> {
        let pulse = self.pulse;
        self.thread.map(|thread| (thread, pulse))
    }

    fn gone(&self) -> &'static str {
        if self.is_remote() { LOST } else { ENDED }
    }
}

/// What a drafter was told since it last said something.
#[derive(Debug, Default)]
struct Owed {
    /// When it was told the first of these messages.
    since: Option<Duration>,
    /// Number of these messages that ask for an answer.
    messages: u32,
}

impl Owed {
    fn told(&mut self, now: Duration) {
        self.since.get_or_insert(now);
        self.messages = self.messages.saturating_add(1);
    }

    fn stands_for(&self, now: Duration) -> Duration {
        match self.since {
            Some(since) if self.messages >= UNANSWERED => now.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use card_core::protocol::Expansion;
    use card_core::sampler::Sampling;
    use card_core::types::{Prob, Rows, Source, TextMark, Token};

    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn open(sequence: u64) -> DraftInput {
        DraftInput::Open {
            sequence: SequenceId(sequence),
            tenant: Tenant::SHARED,
            tokens: vec![1, 2, 3],
            params: Sampling::default(),
            end: 1000,
            grammar: None,
        }
    }

    fn commit(sequence: u64, from: u32) -> DraftInput {
        DraftInput::Commit {
            sequence: SequenceId(sequence),
            from,
            tokens: vec![from as Token],
        }
    }

    fn close(sequence: u64) -> DraftInput {
        DraftInput::Close {
            sequence: SequenceId(sequence),
        }
    }

    fn expansion(sequence: u64) -> Expansion {
        Expansion {
            sequence: SequenceId(sequence),
            root: 2,
            path: Vec::new(),
            children: vec![(7, Prob::ONE)],
        }
    }

    fn drafted(expansions: Vec<Expansion>) -> Drafted {
        Drafted {
            source: Source::Draft,
            expansions,
            rows: Rows::new(1).unwrap(),
            started: Duration::ZERO,
            elapsed: Duration::from_millis(1),
        }
    }

    fn remote() -> (Link, DraftEnd) {
        let (near, far) = ends(Duration::ZERO);
        (Link::remote(near, None), far)
    }

    #[test]
    fn a_text_that_is_forgotten_is_named_to_those_only_who_were_told_one_of_its_tenant() {
        let forget = |tenant| DraftInput::Forget {
            tenant,
            text: TextMark::of(&[1, 2, 3]),
        };
        let (mut link, mut far) = remote();
        link.tell(&forget(Tenant::SHARED), AT(1)).unwrap();
        assert!(far.inbox.try_recv().is_err(), "it was told nothing");
        link.tell(&open(1), AT(2)).unwrap();
        link.tell(&close(1), AT(3)).unwrap();
        link.tell(&forget(Tenant(9)), AT(4)).unwrap();
        link.tell(&forget(Tenant::SHARED), AT(5)).unwrap();
        let heard = std::iter::from_fn(|| far.inbox.try_recv().ok());
        let forgotten = heard.filter_map(|input| match input {
            DraftInput::Forget { tenant, .. } => Some(tenant),
            _ => None,
        });
        assert_eq!(forgotten.collect::<Vec<_>>(), [Tenant::SHARED]);
    }

    #[test]
    fn a_drafter_is_not_believed_of_what_it_was_not_told() {
        let (mut link, far) = remote();
        link.tell(&open(1), AT(0)).unwrap();
        link.tell(&open(2), AT(0)).unwrap();
        link.tell(&close(2), AT(0)).unwrap();
        let all = (0..5).map(expansion).collect();
        assert!(far.outbox.send(drafted(all)));
        let heard = link.hear().unwrap().unwrap();
        assert_eq!(heard.expansions, [expansion(1)]);
    }

    #[test]
    fn what_is_too_much_of_one_message_is_cut_off() {
        let (mut link, far) = remote();
        link.tell(&open(1), AT(0)).unwrap();
        let mut many = expansion(1);
        many.children = vec![(7, Prob::ONE); 10 * MOST_CHILDREN];
        let mut long = expansion(1);
        long.path = vec![7; MOST_PATH + 1];
        let mut all = vec![many; 2 * MOST_EXPANSIONS];
        all[0] = long;
        assert!(far.outbox.send(drafted(all)));
        let heard = link.hear().unwrap().unwrap();
        assert_eq!(heard.expansions.len(), MOST_EXPANSIONS - 1);
        assert!(
            heard
                .expansions
                .iter()
                .all(|e| e.children.len() == MOST_CHILDREN)
        );
    }

    #[test]
    fn a_time_that_cannot_be_is_not_learned_from() {
        let (mut link, _far) = remote();
        link.tell(&open(1), AT(10)).unwrap();
        let later = AT(10) + LONGEST_FORWARD * 2;
        assert!(link.believes(Duration::from_micros(1), later));
        assert!(link.believes(LONGEST_FORWARD, later));
        for time in [Duration::ZERO, LONGEST_FORWARD * 2, Duration::MAX] {
            assert!(!link.believes(time, later), "{time:?}");
        }
        // More than the time that it has been there; what went by unsaid does not count.
        assert!(!link.believes(LONGEST_FORWARD, later));
        assert!(link.believes(Duration::from_millis(1), later));
    }

    #[test]
    fn a_drafter_that_says_nothing_while_it_has_work_is_stuck() {
        let (mut link, far) = remote();
        link.tell(&open(1), AT(10)).unwrap();
        for i in 0..5 {
            link.tell(&commit(1, 3 + i), AT(11)).unwrap();
        }
        assert_eq!(link.stuck_for(AT(40)), AT(30));
        // A sign of life is enough: it may be at a long prompt.
        assert!(far.outbox.send(drafted(Vec::new())));
        assert!(link.hear().unwrap().is_some());
        assert_eq!(link.stuck_for(AT(40)), Duration::ZERO);
        for i in 0..5 {
            link.tell(&commit(1, 8 + i), AT(50)).unwrap();
        }
        assert_eq!(link.stuck_for(AT(51)), AT(1));
        // Without work it owes nothing.
        link.tell(&close(1), AT(51)).unwrap();
        assert_eq!(link.stuck_for(AT(500)), Duration::ZERO);
    }

    #[test]
    fn a_drafter_owes_nothing_for_what_it_was_not_told() {
        let (mut link, mut far) = remote();
        for i in 0..100 {
            link.tell(&commit(9, i), AT(1)).unwrap();
        }
        link.tell(&close(9), AT(1)).unwrap();
        assert_eq!(link.stuck_for(AT(500)), Duration::ZERO);
        assert!(far.inbox.try_recv().is_err());
        // One message that is not answered is no sign yet.
        link.tell(&open(1), AT(1)).unwrap();
        assert_eq!(link.stuck_for(AT(500)), Duration::ZERO);
    }

    #[test]
    fn a_drafter_that_takes_nothing_costs_a_bounded_backlog() {
        let (mut link, _far) = remote();
        let mut told = 0;
        let why = loop {
            if let Err(why) = link.tell(&open(told), AT(1)) {
                break why;
            }
            told += 1;
            assert!(told < 10_000, "no bound");
        };
        assert_eq!(why, OVERFLOW);
    }

    #[test]
    fn a_link_that_is_cut_is_lost_on_both_ways() {
        let (mut link, far) = remote();
        drop(far);
        assert_eq!(link.tell(&open(1), AT(1)), Err(LOST));
        assert_eq!(link.hear().err(), Some(LOST));
    }
}
