//! Names of requests, and seeds for those that bring none.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::unix_seconds;

/// Numbers that no other request of this server has.
pub(crate) struct RequestNumbers {
    next: AtomicU64,
}

impl RequestNumbers {
    /// Numbers of a server that starts now. They differ between runs, so that logs of several
    /// can be searched together.
    pub(crate) fn new() -> Self {
        RequestNumbers {
            next: AtomicU64::new(unix_seconds().wrapping_mul(1 << 20)),
        }
    }

    /// A name for a request.
    pub(crate) fn name(&self) -> String {
        format!("{:x}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A seed for a request that brought none.
    pub(crate) fn seed(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |d| d.as_nanos() as u64);
        now ^ self.next.fetch_add(1, Ordering::Relaxed).rotate_left(32)
    }
}
