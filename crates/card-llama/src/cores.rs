//! The threads of a lane: ggml's own pool, made on the thread that decodes.
//!
//! Not OpenMP: its threads wander, and where the scheduler puts two of them on one core a
//! small model decodes five times slower (docs/backend.md has the measurement). ggml's
//! pool can pin its threads, the calling one included.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;

use llama_cpp_sys_2 as sys;

use crate::device;

/// Cores that run one forward at a time. Contexts that share it take turns.
#[derive(Clone)]
pub struct Cores {
    threads: usize,
    /// Processor numbers to pin to, one thread each; empty for the system's choice.
    pins: Arc<[usize]>,
    pools: Arc<Mutex<Vec<Pool>>>,
}

struct Pool {
    raw: *mut sys::ggml_threadpool,
    free: FreePool,
    owner: ThreadId,
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

// SAFETY: a pool may be used and freed from any thread, by one at a time; the mutex in
// `Cores` sees to that.
unsafe impl Send for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: made by ggml_threadpool_new and freed once. Every context that may have
        // used it holds the `Cores` it belongs to, and is gone by now.
        unsafe { (self.free)(self.raw) }
    }
}

/// Exclusive use of the cores.
pub(crate) struct Turn<'a> {
    /// The pool of the calling thread; null if there could be none.
    pub(crate) pool: *mut sys::ggml_threadpool,
    _lock: MutexGuard<'a, Vec<Pool>>,
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

    /// Waits for the cores to be free and takes them. The thread that decodes is one of the
    /// workers, so each thread that ever does has a pool. Pools are few and stay until the
    /// last context is gone: a context's CPU backend remembers the one it used last, and
    /// pauses it when it gets another.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let me = std::thread::current().id();
        let known = pools.iter().any(|p| p.owner == me);
        if let Some((new, free)) = pool_functions().filter(|_| !known) {
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
            if !raw.is_null() {
                pools.push(Pool {
                    raw,
                    free,
                    owner: me,
                });
            }
        }
        // Without a pool ggml makes threads for every forward: slow, but right.
        let mine = pools.iter().find(|p| p.owner == me);
        Turn {
            pool: mine.map_or(std::ptr::null_mut(), |p| p.raw),
            _lock: pools,
        }
    }
}

impl std::fmt::Debug for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads, pinned to {:?}", self.threads, self.pins)
    }
}
