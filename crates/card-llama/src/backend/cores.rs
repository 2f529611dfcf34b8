//! The threads of a lane: ggml's own pool, made on the thread that decodes.
//!
//! Not OpenMP: its threads wander, and where the scheduler puts two of them on one core a
//! small model decodes five times slower (docs/backend.md has the measurement). ggml's
//! pool can pin its threads, the calling one included.
//!
//! Where other programs take cores, a lane may compute with fewer threads for a while
//! ([`Cores::adapt`]).

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::ThreadId;
use std::time::Instant;

use super::lane_load::{LaneLoad, waited_for_cores};
use crate::sys::threadpool::{PoolPlace, ThreadPool};

/// Cores that run one forward at a time. Contexts that share it take turns.
#[derive(Clone)]
pub struct Cores {
    threads: usize,
    /// Processor numbers to pin to, one thread each; empty for the system's choice.
    pins: Arc<[usize]>,
    lane: Arc<Mutex<LaneState>>,
}

/// What the contexts of a lane share.
#[derive(Default)]
struct LaneState {
    /// The pools that were made. A pool goes with the last context that used it.
    pools: Vec<LanePool>,
    /// Whether cores are taken; `None` if the number of threads stays what it is.
    load: Option<LaneLoad>,
    /// Another lane whose threads this one may have while they rest.
    beside: Option<LaneThreads>,
    /// Whether they rest now.
    others_rest: bool,
}

impl LaneState {
    /// With how many threads a lane that has `own` computes now.
    fn threads(&self, own: usize) -> usize {
        let now = self.load.as_ref().map_or(own, LaneLoad::threads);
        match &self.beside {
            // Where other programs take the lane's own cores, there is nothing to take over.
            Some(beside) if self.others_rest && now == own => own + beside.threads,
            _ => now,
        }
    }
}

/// The threads of a lane, and where they are.
#[derive(Clone)]
struct LaneThreads {
    threads: usize,
    /// As [`Cores::pins`].
    pins: Arc<[usize]>,
}

/// A pool and the thread that decodes with it, which is one of its workers.
struct LanePool {
    owner: ThreadId,
    threads: usize,
    pool: Weak<ThreadPool>,
}

/// Exclusive use of the cores.
pub(crate) struct CoreTurn<'a> {
    pool: Option<Arc<ThreadPool>>,
    lane: MutexGuard<'a, LaneState>,
    began: Instant,
}

impl CoreTurn<'_> {
    /// The pool of the calling thread, unless there could be none.
    pub(crate) fn pool(&self) -> Option<&Arc<ThreadPool>> {
        self.pool.as_ref()
    }
}

impl Drop for CoreTurn<'_> {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        if let Some(load) = &mut self.lane.load {
            load.forward(took, &waited_for_cores);
        }
    }
}

/// The processors that this process may use, as they were at the first call. A thread that decoded
/// is pinned to one of them afterwards, and would see that one only.
fn processors() -> &'static [usize] {
    static ALL: OnceLock<Vec<usize>> = OnceLock::new();
    ALL.get_or_init(|| {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        ids.into_iter().map(|core| core.id).collect()
    })
}

impl Cores {
    /// `threads` threads wherever the system puts them.
    fn unpinned(threads: usize) -> Self {
        Cores {
            threads: threads.max(1),
            pins: Arc::from([]),
            lane: Arc::default(),
        }
    }

    /// One lane of `threads` threads, pinned if it takes every core.
    pub fn one_lane(threads: usize) -> Self {
        let pinned = Self::all(&[threads]).and_then(|mut lanes| lanes.pop());
        pinned.unwrap_or_else(|| Self::unpinned(threads))
    }

    /// Two lanes, pinned if together they take every core.
    pub fn two_lanes(first: usize, second: usize) -> (Self, Self) {
        match Self::all(&[first, second]).as_deref() {
            Some([a, b]) => (a.clone(), b.clone()),
            _ => (Self::unpinned(first), Self::unpinned(second)),
        }
    }

    /// Lanes that together use every core, each pinned to cores of its own. `None` if the numbers of
    /// threads do not add up to the cores there are: pinning some would leave others idle
    /// and get in the way of a second program that does the same.
    fn all(lanes: &[usize]) -> Option<Vec<Self>> {
        let ids = processors();
        if lanes.iter().sum::<usize>() != ids.len() || lanes.contains(&0) {
            return None;
        }
        let mut ids = ids.iter().copied();
        let lane = |&threads: &usize| Cores {
            threads,
            pins: ids.by_ref().take(threads).collect(),
            lane: Arc::default(),
        };
        Some(lanes.iter().map(lane).collect())
    }

    /// Number of threads, while nobody else needs the cores.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether these are the cores of the same lane: contexts of both take turns.
    pub fn is_lane_of(&self, other: &Cores) -> bool {
        Arc::ptr_eq(&self.lane, &other.lane)
    }

    /// Lets all contexts of this lane compute with fewer threads while other programs take its
    /// cores. Only for models whose logits do not depend on the number of threads, or whose text
    /// may.
    pub fn adapt(&self) {
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        lane.load.get_or_insert_with(|| LaneLoad::new(self.threads));
    }

    /// Lets this lane have the threads of `other`, too, while the models there rest
    /// ([`Cores::others_rest`]). Only for models whose logits do not depend on the number of threads,
    /// or whose text may.
    pub fn may_take_over(&self, other: &Cores) {
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        lane.beside = Some(LaneThreads {
            threads: other.threads,
            pins: other.pins.clone(),
        });
    }

    /// Says whether the models of the other lane rest from now on.
    pub(crate) fn others_rest(&self, rest: bool) {
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        lane.others_rest = rest;
    }

    /// Waits for the cores to be free and takes them. Whoever decodes keeps the pool as long as
    /// its backend may look at it (see `UsedPools`).
    pub(crate) fn take(&self) -> CoreTurn<'_> {
        let mut lane = self.lane.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = lane.threads(self.threads);
        lane.pools.retain(|made| made.pool.strong_count() > 0);
        let owner = std::thread::current().id();
        let mine = |made: &&LanePool| made.owner == owner && made.threads == threads;
        let mut pool = lane
            .pools
            .iter()
            .filter(mine)
            .find_map(|m| m.pool.upgrade());
        if pool.is_none() {
            // Without one ggml makes threads for every forward: slow, but right.
            pool = self.pool_of(threads, lane.beside.as_ref()).map(Arc::new);
            lane.pools.extend(pool.as_ref().map(|made| LanePool {
                owner,
                threads,
                pool: Arc::downgrade(made),
            }));
        }
        CoreTurn {
            pool,
            lane,
            began: Instant::now(),
        }
    }

    /// A pool of so many threads. One that has fewer than the lane shares cores with others: its
    /// threads go where the system finds room, and do not spin for work. One that has more has the
    /// processors of the lane `beside`, too.
    fn pool_of(&self, threads: usize, beside: Option<&LaneThreads>) -> Option<ThreadPool> {
        if let Some(beside) = beside.filter(|_| threads > self.threads) {
            let both = [&self.pins[..], &beside.pins[..]].concat();
            let place = if both.len() == threads {
                PoolPlace::Pinned(&both)
            } else {
                PoolPlace::Anywhere
            };
            return ThreadPool::new(threads, place, None);
        }
        let pins = &self.pins[..];
        let (place, poll) = match (pins.is_empty(), threads < self.threads) {
            (true, few) => (PoolPlace::Anywhere, few.then_some(0)),
            (false, false) => (PoolPlace::Pinned(pins), None),
            (false, true) => (PoolPlace::Among(pins), Some(0)),
        };
        ThreadPool::new(threads, place, poll)
    }
}

/// Runs `work` on a thread that ends with it.
///
/// A thread that decodes becomes a worker of the lane's pool and is pinned with it. So
/// whoever decodes outside of a lane's own thread does it here.
pub fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl std::fmt::Debug for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads, pinned to {:?}", self.threads, self.pins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::threadpool::UsedPools;

    /// What a context does for a forward.
    fn forward(cores: &Cores, pools: &mut UsedPools) {
        let turn = cores.take();
        assert!(turn.pool().is_some(), "there is a CPU backend");
        pools.change(turn.pool());
        drop(turn);
        pools.changed();
    }

    fn alive(cores: &Cores) -> usize {
        let lane = cores.lane.lock().unwrap();
        let alive = lane
            .pools
            .iter()
            .filter(|made| made.pool.strong_count() > 0);
        alive.count()
    }

    /// Threads of this process, where the system says so.
    fn threads() -> Option<usize> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("Threads:"))?;
        line.trim().parse().ok()
    }

    #[test]
    fn threads_that_come_and_go_leave_no_pool_behind() {
        let cores = Cores::unpinned(3);
        let before = threads();
        for _ in 0..1000 {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut pools = UsedPools::default();
                    forward(&cores, &mut pools);
                    forward(&cores, &mut pools);
                    assert_eq!(alive(&cores), 1);
                });
            });
        }
        assert_eq!(alive(&cores), 0);
        // Tests beside this one have threads too, but not thousands.
        if let (Some(before), Some(after)) = (before, threads()) {
            assert!(after < before + 500, "{before} threads, then {after}");
        }
    }

    #[test]
    fn a_context_that_changes_its_thread_leaves_its_pool_there() {
        let cores = Cores::unpinned(2);
        let mut pools = UsedPools::default();
        for _ in 0..100 {
            std::thread::scope(|scope| {
                scope.spawn(|| forward(&cores, &mut pools));
            });
            assert_eq!(alive(&cores), 1);
        }
        drop(pools);
        assert_eq!(alive(&cores), 0);
    }

    #[test]
    fn a_pool_stays_until_the_next_one_was_used() {
        let cores = Cores::unpinned(2);
        let mut pools = UsedPools::default();
        forward(&cores, &mut pools);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A forward that fails: the backend may not have seen the new pool yet.
                let turn = cores.take();
                pools.change(turn.pool());
            });
        });
        assert_eq!(alive(&cores), 2);
        forward(&cores, &mut pools);
        assert_eq!(alive(&cores), 1);
    }

    #[test]
    fn contexts_of_one_thread_share_its_pool() {
        let cores = Cores::unpinned(2);
        let (mut target, mut draft) = (UsedPools::default(), UsedPools::default());
        forward(&cores, &mut target);
        forward(&cores, &mut draft);
        assert_eq!(alive(&cores), 1);
        drop(target);
        assert_eq!(alive(&cores), 1);
        drop(draft);
        assert_eq!(alive(&cores), 0);
    }

    #[test]
    fn a_lane_with_fewer_threads_has_a_pool_of_that_size_and_gets_the_whole_back() {
        let cores = Cores::unpinned(2);
        cores.adapt();
        let mut pools = UsedPools::default();
        let size = |cores: &Cores, pools: &mut UsedPools| {
            let turn = cores.take();
            let threads = turn.pool().unwrap().threads();
            pools.change(turn.pool());
            drop(turn);
            pools.changed();
            threads
        };
        assert_eq!(size(&cores, &mut pools), 2);
        let force = |threads| {
            let mut lane = cores.lane.lock().unwrap();
            lane.load = Some(LaneLoad::new(threads));
        };
        force(1);
        assert_eq!(size(&cores, &mut pools), 1);
        assert_eq!(alive(&cores), 1, "the pool before is gone");
        force(2);
        assert_eq!(size(&cores, &mut pools), 2);
        // While the models of another lane rest it has their threads, unless cores are taken.
        cores.may_take_over(&Cores::unpinned(3));
        cores.others_rest(true);
        assert_eq!(size(&cores, &mut pools), 5);
        force(1);
        assert_eq!(size(&cores, &mut pools), 1);
        force(2);
        cores.others_rest(false);
        assert_eq!(size(&cores, &mut pools), 2);
        // A clone is the same lane.
        assert!(cores.clone().is_lane_of(&cores));
        assert!(!Cores::unpinned(2).is_lane_of(&cores));
        force(1);
        assert_eq!(size(&cores.clone(), &mut pools), 1);
    }
}
