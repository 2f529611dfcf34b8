//! ggml's pools of threads that compute a forward.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use llama_cpp_sys_2 as cpp;

use super::registry;

type NewPool = unsafe extern "C" fn(*mut cpp::ggml_threadpool_params) -> *mut cpp::ggml_threadpool;
type FreePool = unsafe extern "C" fn(*mut cpp::ggml_threadpool);

/// How pools are made and freed. The CPU backend knows, and a `portable` build has none to
/// link against: it loads one for the processor it finds.
fn pool_functions() -> Option<(NewPool, FreePool)> {
    static FOUND: OnceLock<Option<(NewPool, FreePool)>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let new = registry::function(c"CPU", c"ggml_threadpool_new")?;
        let free = registry::function(c"CPU", c"ggml_threadpool_free")?;
        // SAFETY: the functions of these names have had these types since they were made.
        unsafe {
            Some((
                std::mem::transmute::<*mut c_void, NewPool>(new),
                std::mem::transmute::<*mut c_void, FreePool>(free),
            ))
        }
    })
}

/// Owns a `ggml_threadpool`: threads that wait for work. The thread that decodes is one of its
/// workers, so each thread that decodes has a pool of its own.
pub(crate) struct ThreadPool {
    raw: *mut cpp::ggml_threadpool,
    free: FreePool,
    threads: usize,
}

/// On which processors the threads of a pool run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PoolPlace<'a> {
    /// Wherever the system puts them.
    Anywhere,
    /// One on each of these processors, by number.
    Pinned(&'a [usize]),
    /// Wherever the system puts them among these processors: others compute there too.
    Among(&'a [usize]),
}

// SAFETY: a pool may be used and freed from any thread, by one at a time: contexts use it in a
// decode, which needs exclusive use of the lane's cores, and it is freed when nobody has it.
unsafe impl Send for ThreadPool {}
// SAFETY: as above; a shared reference only gives the pointer away.
unsafe impl Sync for ThreadPool {}

impl ThreadPool {
    /// A pool of `threads` threads. `poll` says how long they spin for the next forward before they
    /// sleep, from 0 (not at all) to 100. `None` if the backend has no pools, or no memory for one.
    pub(crate) fn new(threads: usize, place: PoolPlace, poll: Option<u32>) -> Option<Self> {
        let (new, free) = pool_functions()?;
        // SAFETY: returns a plain struct.
        let mut params = unsafe { cpp::ggml_threadpool_params_default(threads as i32) };
        let processors: &[usize] = match place {
            PoolPlace::Anywhere => &[],
            PoolPlace::Pinned(ids) | PoolPlace::Among(ids) => ids,
        };
        for &id in processors {
            if let Some(bit) = params.cpumask.get_mut(id) {
                *bit = true;
            }
        }
        params.strict_cpu = matches!(place, PoolPlace::Pinned(ids) if !ids.is_empty());
        params.poll = poll.unwrap_or(params.poll);
        // SAFETY: params is filled in; ggml copies it.
        let raw = unsafe { new(&mut params) };
        (!raw.is_null()).then_some(ThreadPool { raw, free, threads })
    }

    /// Threads of the pool, the one that decodes included.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The pool as llama.cpp's functions take it; valid as long as `self`.
    pub(crate) fn raw(&self) -> *mut cpp::ggml_threadpool {
        self.raw
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: made by ggml_threadpool_new and freed once. Each context whose backend may
        // look at it has it in its `UsedPools`, and those are dropped after the context.
        unsafe { (self.free)(self.raw) }
    }
}

/// The pools a context's CPU backend may look at. The backend remembers the pool it used last,
/// and pauses it when it gets another one: so a pool must not go before the next was used.
#[derive(Default)]
pub(crate) struct UsedPools {
    now: Option<Arc<ThreadPool>>,
    before: Vec<Arc<ThreadPool>>,
}

impl UsedPools {
    /// The context gets this pool for its next forward, or none.
    pub(crate) fn change(&mut self, next: Option<&Arc<ThreadPool>>) {
        if self.now.as_ref().map(Arc::as_ptr) == next.map(Arc::as_ptr) {
            return;
        }
        self.before
            .extend(std::mem::replace(&mut self.now, next.cloned()));
    }

    /// The forward went through, so the backend has forgotten the pools before.
    pub(crate) fn changed(&mut self) {
        self.before.clear();
    }
}
