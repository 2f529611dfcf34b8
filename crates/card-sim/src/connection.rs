//! What is between a target and one of its drafters.

use std::time::Duration;

use card_core::backoff::Backoff;
use card_core::protocol::{DraftInput, Drafted};

use crate::scenario::LinkSpec;
use crate::wire::Wire;

/// A partition is noticed when keep-alives go without an answer for so long (as in
/// `card-link`).
const KEEPALIVE: Duration = Duration::from_secs(5);

/// A connection between a target and a drafter. While it is not open nothing is on its wires.
pub(crate) struct Connection {
    /// Number of the target's machine.
    pub(crate) machine: usize,
    /// Number of the drafter's machine.
    pub(crate) host: usize,
    pub(crate) open: bool,
    to: Wire<DraftInput>,
    from: Wire<Drafted>,
    /// When to try again, while it is not open.
    retry_at: Duration,
    pause: Backoff,
    /// A partition holds up what is sent until then.
    held: Option<Duration>,
    /// When that is noticed.
    notice_at: Option<Duration>,
    /// Since when its drafts are waited for again.
    back_since: Option<Duration>,
}

impl Connection {
    /// A connection that was not opened yet.
    pub(crate) fn new(machine: usize, host: usize, link: LinkSpec) -> Self {
        Connection {
            machine,
            host,
            open: false,
            to: Wire::new(link),
            from: Wire::new(link),
            retry_at: Duration::ZERO,
            pause: Backoff::DRAFTER,
            held: None,
            notice_at: None,
            back_since: None,
        }
    }

    /// When something happens to it next. A drafter that is `busy` hears between its
    /// forwards; a target that is not `up` does not connect.
    pub(crate) fn next(&self, busy: bool, up: bool) -> Option<Duration> {
        if !self.open {
            return Some(self.retry_at).filter(|_| up);
        }
        let hears = self.to.next().filter(|_| !busy);
        let times = [self.from.next(), self.notice_at, hears];
        times.into_iter().flatten().min()
    }

    /// Sends a message to the drafter.
    pub(crate) fn tell(&mut self, input: DraftInput, now: Duration, rng: &mut fastrand::Rng) {
        self.to.send(input, now, self.held, rng);
    }

    /// Sends drafts to the target.
    pub(crate) fn answer(&mut self, drafted: Drafted, now: Duration, rng: &mut fastrand::Rng) {
        self.from.send(drafted, now, self.held, rng);
    }

    /// The next message that has arrived at the drafter.
    pub(crate) fn told(&mut self, now: Duration) -> Option<DraftInput> {
        self.to.take(now)
    }

    /// The next drafts that have arrived at the target; and the time since the end of a fault
    /// that they ended, if they are the first since then.
    pub(crate) fn heard(&mut self, now: Duration) -> Option<(Drafted, Option<Duration>)> {
        let drafted = self.from.take(now)?;
        let since = self.back_since.take();
        self.pause.reset();
        Some((drafted, since.map(|since| now.saturating_sub(since))))
    }

    /// A partition begins that ends then.
    pub(crate) fn hold(&mut self, until: Duration, now: Duration) {
        self.held = Some(self.held.unwrap_or_default().max(until));
        self.to.hold(until);
        self.from.hold(until);
        if self.open && self.notice_at.is_none() {
            self.notice_at = Some(now + KEEPALIVE);
        }
    }

    /// Ends a partition that is over.
    pub(crate) fn release(&mut self, now: Duration) {
        if self.held.is_some_and(|until| until <= now) {
            self.held = None;
            self.notice_at = None;
            if self.open {
                self.back_since.get_or_insert(now);
            }
        }
    }

    /// Whether the partition that is on is noticed now.
    pub(crate) fn is_noticed(&self, now: Duration) -> bool {
        self.open && self.notice_at.is_some_and(|at| at <= now)
    }

    /// Whether to try to open it now, the target being up.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        !self.open && self.retry_at <= now
    }

    /// Whether a partition is on.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// The connection could not be opened; it is tried again after a pause that doubles each
    /// time.
    pub(crate) fn retry(&mut self, now: Duration) {
        self.retry_at = now + self.pause.fail();
    }

    /// The connection is open from now on.
    pub(crate) fn opened(&mut self) {
        self.open = true;
        self.notice_at = None;
    }

    /// The connection is lost, with what is on its way.
    pub(crate) fn lost(&mut self, now: Duration) {
        self.open = false;
        self.to.cut();
        self.from.cut();
        self.notice_at = None;
        self.retry(now);
    }

    /// The drafter is up again, and its drafts are waited for.
    pub(crate) fn back(&mut self, now: Duration) {
        self.back_since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use card_core::types::SequenceId;

    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    fn close() -> DraftInput {
        DraftInput::Close {
            sequence: SequenceId(1),
        }
    }

    #[test]
    fn a_partition_holds_messages_up_and_is_noticed_if_it_lasts() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut c = Connection::new(0, 0, LinkSpec::default());
        assert_eq!(
            (c.next(false, true), c.next(false, false)),
            (Some(AT(0)), None)
        );
        c.opened();
        c.hold(AT(3), AT(1));
        c.tell(close(), AT(1), &mut rng);
        assert_eq!(c.next(false, true), Some(AT(3)));
        assert!(c.told(AT(2)).is_none() && c.is_held());
        c.release(AT(3));
        assert!(c.told(AT(3)).is_some() && !c.is_held());
        c.hold(AT(20), AT(4));
        assert!(!c.is_noticed(AT(8)) && c.is_noticed(AT(4) + KEEPALIVE));
        c.tell(close(), AT(5), &mut rng);
        c.lost(AT(9));
        assert_eq!(c.next(false, true), Some(AT(10)), "the pause is a second");
        assert!(c.told(AT(30)).is_none(), "what was on its way is lost");
    }
}
