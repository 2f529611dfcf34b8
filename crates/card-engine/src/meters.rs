//! The engine's clock, and the time its lanes have worked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use card_core::cost::CostCurve;
use card_core::forward::Forward;
use card_core::scheduler::SavedStateCounts;

use crate::forward_times::{CostDeviation, ForwardTimes};

/// Time a lane has worked since the engine started.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneTimes {
    /// Time of the target's forwards.
    pub target: Duration,
    /// Time of the draft models' forwards.
    pub draft: Duration,
    /// Time of everything else that the engine does on the target's thread between forwards.
    pub overhead: Duration,
    /// Number of target forwards.
    pub forwards: u64,
    /// Number of draft forwards.
    pub draft_forwards: u64,
    /// Draft models that are at work now.
    pub drafters: u64,
    /// How often a draft model failed.
    pub drafter_failures: u64,
    /// States of the target that were saved, if it has one state per sequence.
    pub states: SavedStateCounts,
}

/// The counters behind [`LaneTimes`], and the clock of an engine. The target's lane, the
/// lanes of its drafters and the [`Engine`](crate::Engine) share one.
pub(crate) struct Meters {
    started: Instant,
    target_ns: AtomicU64,
    draft_ns: AtomicU64,
    overhead_ns: AtomicU64,
    forwards: AtomicU64,
    draft_forwards: AtomicU64,
    drafters: AtomicU64,
    failures: AtomicU64,
    states: Mutex<SavedStateCounts>,
    costs: Mutex<ForwardCosts>,
}

/// What forwards took, and what that says of what was measured before.
#[derive(Debug, Default)]
struct ForwardCosts {
    target: ForwardTimes,
    draft: ForwardTimes,
    deviation: Option<CostDeviation>,
}

impl Meters {
    /// The clock starts now, and nothing is counted yet.
    pub(crate) fn new() -> Self {
        Meters {
            started: Instant::now(),
            target_ns: AtomicU64::default(),
            draft_ns: AtomicU64::default(),
            overhead_ns: AtomicU64::default(),
            forwards: AtomicU64::default(),
            draft_forwards: AtomicU64::default(),
            drafters: AtomicU64::default(),
            failures: AtomicU64::default(),
            states: Mutex::default(),
            costs: Mutex::default(),
        }
    }

    fn costs(&self) -> MutexGuard<'_, ForwardCosts> {
        self.costs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a forward of the target took, against what was `measured` before. Returns how they
    /// contradict each other, the first time they do.
    pub(crate) fn target_forward(
        &self,
        forward: &Forward,
        time: Duration,
        measured: &CostCurve,
    ) -> Option<CostDeviation> {
        let mut costs = self.costs();
        let rows = costs.target.record(forward, time)?;
        if costs.deviation.is_some() {
            return None;
        }
        costs.deviation = costs.target.contradicts(rows, measured);
        costs.deviation
    }

    /// What a forward of the first draft model took.
    pub(crate) fn draft_forward(&self, forward: &Forward, time: Duration) {
        self.costs().draft.record(forward, time);
    }

    /// The target was measured anew: earlier forwards say nothing against that.
    pub(crate) fn measured_anew(&self) {
        let mut costs = self.costs();
        costs.target = ForwardTimes::default();
        costs.deviation = None;
    }

    /// What the latest forwards of the target and of the first draft model took.
    pub(crate) fn forward_times(&self) -> [ForwardTimes; 2] {
        let costs = self.costs();
        [costs.target.clone(), costs.draft.clone()]
    }

    /// How forwards contradicted what was measured, if they did.
    pub(crate) fn deviation(&self) -> Option<CostDeviation> {
        self.costs().deviation
    }

    /// Time since the engine started.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The target did a forward in this time.
    pub(crate) fn target(&self, time: Duration) {
        add(&self.target_ns, time);
        self.forwards.fetch_add(1, Ordering::Relaxed);
    }

    /// A draft model did a forward in this time.
    pub(crate) fn draft(&self, time: Duration) {
        add(&self.draft_ns, time);
        self.draft_forwards.fetch_add(1, Ordering::Relaxed);
    }

    /// The target's thread spent this time beside forwards.
    pub(crate) fn overhead(&self, time: Duration) {
        add(&self.overhead_ns, time);
    }

    /// So many drafters are at work now.
    pub(crate) fn set_drafters(&self, count: usize) {
        self.drafters.store(count as u64, Ordering::Relaxed);
    }

    /// A drafter failed.
    pub(crate) fn drafter_failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// What became of the target's saved states by now.
    pub(crate) fn set_states(&self, counts: SavedStateCounts) {
        *self.states.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// What was counted so far.
    pub(crate) fn lane_times(&self) -> LaneTimes {
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        LaneTimes {
            target: time(&self.target_ns),
            draft: time(&self.draft_ns),
            overhead: time(&self.overhead_ns),
            forwards: count(&self.forwards),
            draft_forwards: count(&self.draft_forwards),
            drafters: count(&self.drafters),
            drafter_failures: count(&self.failures),
            states: *self.states.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

fn add(sum: &AtomicU64, time: Duration) {
    sum.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
}
