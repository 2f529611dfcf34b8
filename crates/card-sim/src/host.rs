//! A machine that drafts, for one target or for several in turns.

use std::collections::BTreeMap;
use std::time::Duration;

use card_core::cost::CostCurve;

use crate::forwards::RunningForward;
use crate::seat::Seat;

/// How many times longer forwards take while a drafter is slow.
const SLOWDOWN: f64 = 10.0;

/// A machine that drafts. Targets are named by their number.
pub(crate) struct Host {
    /// Number of its kind among the scenario's drafters.
    pub(crate) kind: usize,
    /// Milliseconds of a draft forward, by rows.
    cost: CostCurve,
    /// Whether its process runs.
    pub(crate) up: bool,
    /// Its forwards take [`SLOWDOWN`] times as long until then.
    pub(crate) slow_until: Duration,
    /// It sends nonsense beside its drafts until then.
    pub(crate) garbage_until: Duration,
    /// A seat for each target.
    pub(crate) seats: BTreeMap<usize, Seat>,
    /// The forward it is at, and the target that is for.
    pub(crate) running: Option<(usize, RunningForward)>,
    /// The target that had the last turn.
    turn: usize,
}

impl Host {
    /// A machine of this kind, with no target yet.
    pub(crate) fn new(kind: usize, cost: CostCurve) -> Self {
        Host {
            kind,
            cost,
            up: true,
            slow_until: Duration::ZERO,
            garbage_until: Duration::ZERO,
            seats: BTreeMap::new(),
            running: None,
            turn: 0,
        }
    }

    /// When the forward it is at is over.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.running.as_ref().map(|(_, running)| running.end)
    }

    /// Begins the next forward, if one of its targets has something to draft.
    pub(crate) fn begin(&mut self, now: Duration) {
        let slow = if now < self.slow_until { SLOWDOWN } else { 1.0 };
        let after = self.seats.range(self.turn + 1..).map(|s| *s.0);
        let order: Vec<usize> = after
            .chain(self.seats.range(..=self.turn).map(|s| *s.0))
            .collect();
        for target in order {
            let seat = self.seats.get_mut(&target);
            if let Some(running) = seat.and_then(|s| s.begin(now, &self.cost, slow)) {
                self.turn = target;
                self.running = Some((target, running));
                return;
            }
        }
    }
}
