//! Forwards that take too long are given up: ggml asks between two operations whether to go on.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use llama_cpp_sys_2 as cpp;

/// Operations between two looks at the clock: a forward has hundreds, of microseconds each.
const EVERY: u32 = 16;

/// When the running forward is given up. ggml's threads read it while the lane's thread may set
/// it, so what changes is atomic.
#[derive(Debug)]
pub(crate) struct ForwardDeadline {
    /// When this clock was started.
    clock: Instant,
    /// How long a forward may take.
    patience: Duration,
    /// Nanoseconds on the clock at which the running forward is given up.
    until: AtomicU64,
    /// How often ggml asked whether to go on.
    asked: AtomicU32,
}

impl ForwardDeadline {
    /// Forwards may take this long.
    pub(crate) fn new(patience: Duration) -> Self {
        ForwardDeadline {
            clock: Instant::now(),
            patience,
            until: AtomicU64::new(u64::MAX),
            asked: AtomicU32::new(0),
        }
    }

    /// Starts the time of a forward.
    pub(crate) fn begin(&self) {
        let until = self.clock.elapsed().saturating_add(self.patience);
        let ns = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(ns, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        asked.is_multiple_of(EVERY)
            && self.clock.elapsed().as_nanos() > u128::from(self.until.load(Ordering::Relaxed))
    }

    /// What ggml calls, and with what. Valid as long as `self` stays where it is.
    pub(crate) fn callback(&self) -> (cpp::ggml_abort_callback, *mut c_void) {
        (Some(is_over), std::ptr::from_ref(self).cast_mut().cast())
    }
}

extern "C" fn is_over(data: *mut c_void) -> bool {
    // SAFETY: the pointer is that of `ForwardDeadline::callback`, and outlives the context that
    // calls; it is only read, and its fields are atomics.
    unsafe { &*data.cast::<ForwardDeadline>() }.is_over()
}
