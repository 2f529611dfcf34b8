//! The threads of a lane: ggml's own pool, made on the thread that decodes.
//!
//! Not OpenMP: its threads wander, and where the scheduler puts two of them on one core a
//! small model decodes five times slower (docs/backend.md has the measurement). ggml's
//! pool can pin its threads, the calling one included.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::ThreadId;

use llama_cpp_sys_2 as sys;

use crate::device;

/// Cores that run one forward at a time. Contexts that share it take turns.
#[derive(Clone)]
pub struct Cores {
    threads: usize,
    /// Processor numbers to pin to, one thread each; empty for the system's choice.
    pins: Arc<[usize]>,
    /// Those that some context still has. A pool goes with the last one that used it.
    pools: Arc<Mutex<Vec<Weak<Pool>>>>,
}

/// The threads that compute, and the one that decodes: it is one of the workers, so each
/// thread that decodes has a pool of its own.
pub(crate) struct Pool {
    raw: *mut sys::ggml_threadpool,
    free: FreePool,
    owner: ThreadId,
}

/// The pools a context's CPU backend may look at. It remembers the one it used last, and
/// pauses it when it gets another: so that one must not go before the next was used.
#[derive(Default)]
pub(crate) struct Pools {
    now: Option<Arc<Pool>>,
    before: Vec<Arc<Pool>>,
}

impl Pools {
    /// The context gets this one for its next forward, or none.
    pub(crate) fn change(&mut self, next: Option<&Arc<Pool>>) {
        if self.now.as_ref().map(Arc::as_ptr) == next.map(Arc::as_ptr) {
            return;
        }
        self.before
            .extend(std::mem::replace(&mut self.now, next.cloned()));
    }

    /// The forward went through, so the backend has forgotten those before.
    pub(crate) fn changed(&mut self) {
        self.before.clear();
    }
}

type NewPool = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
type FreePool = unsafe extern "C" fn(*mut sys::ggml_threadpool);

/// How pools are made and freed. The CPU backend knows, and a `portable` build has none to
/// link against: it loads one for the processor it finds.
fn pool_functions() -> Option<(NewPool, FreePool)> {
    static FOUND: OnceLock<Option<(NewPool, FreePool)>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let new = device::function(c"CPU", c"ggml_threadpool_new")?;
        let free = device::function(c"CPU", c"ggml_threadpool_free")?;
        // SAFETY: the functions of these names have had these types since they were made.
        unsafe {
            Some((
                std::mem::transmute::<*mut c_void, NewPool>(new),
                std::mem::transmute::<*mut c_void, FreePool>(free),
            ))
        }
    })
}

// SAFETY: a pool may be used and freed from any thread, by one at a time: it is used by
// whoever has the turn, and freed when nobody has it any more.
unsafe impl Send for Pool {}
// SAFETY: as above; a shared reference only gives the pointer away.
unsafe impl Sync for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by ggml_threadpool_new and freed once. Each context whose backend may
        // look at it has it in its `Pools`, and those are dropped after the context.
        unsafe { (self.free)(self.raw) }
    }
}

/// Exclusive use of the cores.
pub(crate) struct Turn<'a> {
    /// The pool of the calling thread, unless there could be none.
    pub(crate) pool: Option<Arc<Pool>>,
    _lock: MutexGuard<'a, Vec<Weak<Pool>>>,
}

impl Turn<'_> {
    /// What ggml calls the pool; null for none.
    pub(crate) fn raw(&self) -> *mut sys::ggml_threadpool {
        self.pool.as_ref().map_or(std::ptr::null_mut(), |p| p.raw)
    }
}

impl Cores {
    /// `threads` threads wherever the system puts them.
    fn unpinned(threads: usize) -> Self {
        Cores {
            threads: threads.max(1),
            pins: Arc::from([]),
            pools: Arc::default(),
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

    /// Lanes that together use every core, each pinned to its own. `None` if the numbers of
    /// threads do not add up to the cores there are: pinning some would leave others idle
    /// and get in the way of a second program that does the same.
    fn all(lanes: &[usize]) -> Option<Vec<Self>> {
        let ids = core_affinity::get_core_ids()?;
        if lanes.iter().sum::<usize>() != ids.len() || lanes.contains(&0) {
            return None;
        }
        let mut ids = ids.into_iter().map(|c| c.id);
        let lane = |&threads: &usize| Cores {
            threads,
            pins: ids.by_ref().take(threads).collect(),
            pools: Arc::default(),
        };
        Some(lanes.iter().map(lane).collect())
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Waits for the cores to be free and takes them. Whoever decodes keeps the pool (see
    /// [`Pools`]) as long as its backend may look at it.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        let me = std::thread::current().id();
        let alive = |pool: &Weak<Pool>| pool.upgrade().filter(|pool| pool.owner == me);
        let mine = pools.iter().find_map(alive);
        let mine = mine.or_else(|| {
            let made = Arc::new(self.pool(me)?);
            pools.push(Arc::downgrade(&made));
            Some(made)
        });
        Turn {
            pool: mine,
            _lock: pools,
        }
    }

    /// A new pool for the calling thread. Without one ggml makes threads for every forward:
    /// slow, but right.
    fn pool(&self, owner: ThreadId) -> Option<Pool> {
        let (new, free) = pool_functions()?;
        // SAFETY: returns a plain struct.
        let mut params = unsafe { sys::ggml_threadpool_params_default(self.threads as i32) };
        for &id in self.pins.iter() {
            if let Some(bit) = params.cpumask.get_mut(id) {
                *bit = true;
            }
        }
        params.strict_cpu = !self.pins.is_empty();
        // SAFETY: params is filled in; ggml copies it.
        let raw = unsafe { new(&mut params) };
        (!raw.is_null()).then_some(Pool { raw, free, owner })
    }
}

impl std::fmt::Debug for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads, pinned to {:?}", self.threads, self.pins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a context does for a forward.
    fn forward(cores: &Cores, pools: &mut Pools) {
        let turn = cores.take();
        assert!(turn.pool.is_some(), "there is a CPU backend");
        pools.change(turn.pool.as_ref());
        drop(turn);
        pools.changed();
    }

    fn alive(cores: &Cores) -> usize {
        let pools = cores.pools.lock().unwrap();
        pools.iter().filter(|pool| pool.strong_count() > 0).count()
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
                    let mut pools = Pools::default();
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
        let mut pools = Pools::default();
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
        let mut pools = Pools::default();
        forward(&cores, &mut pools);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A forward that fails: the backend may not have seen the new pool yet.
                let turn = cores.take();
                pools.change(turn.pool.as_ref());
            });
        });
        assert_eq!(alive(&cores), 2);
        forward(&cores, &mut pools);
        assert_eq!(alive(&cores), 1);
    }

    #[test]
    fn contexts_of_one_thread_share_its_pool() {
        let cores = Cores::unpinned(2);
        let (mut target, mut draft) = (Pools::default(), Pools::default());
        forward(&cores, &mut target);
        forward(&cores, &mut draft);
        assert_eq!(alive(&cores), 1);
        drop(target);
        assert_eq!(alive(&cores), 1);
        drop(draft);
        assert_eq!(alive(&cores), 0);
    }
}
