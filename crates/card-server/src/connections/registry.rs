//! Which connections are open, and which of them makes room for another.
//!
//! Their number is at most `limits.most`: whoever is let in has an entry, and an entry is taken
//! back when it is dropped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::limits::ConnectionLimits;
use crate::clock::LONGEST;

/// All connections of a server.
pub(crate) struct Connections {
    limits: ConnectionLimits,
    open: Mutex<BTreeMap<u64, OpenConnection>>,
    /// The number that the next connection gets.
    next: AtomicU64,
    /// Notified when a connection ends.
    left: Notify,
}

/// A connection that is open.
struct OpenConnection {
    /// Since when no request is on it; `None` while one is.
    idle: Option<Instant>,
    /// Notified when the connection has to be closed.
    close: Arc<Notify>,
}

/// A connection's entry, taken back when it is dropped.
pub(super) struct ConnectionEntry {
    /// The registry that has this entry.
    pub(super) all: Arc<Connections>,
    /// The number of the connection.
    pub(super) id: u64,
    /// Notified when the connection has to be closed.
    pub(super) close: Arc<Notify>,
}

impl Connections {
    /// No connections yet, with these bounds.
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        let limits = ConnectionLimits {
            most: limits.most.max(1),
            idle: limits.idle.min(LONGEST),
            stalled: limits.stalled.min(LONGEST),
        };
        Arc::new(Connections {
            limits,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            left: Notify::new(),
        })
    }

    /// Connections that are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, OpenConnection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry of one more connection. If there are too many, the one that was idle longest is
    /// closed for it; if none is idle, there is no entry.
    pub(super) fn admit(self: &Arc<Self>, now: Instant) -> Option<ConnectionEntry> {
        let mut open = self.lock();
        if open.len() >= self.limits.most {
            let idle = open.iter().filter_map(|(&id, c)| Some((c.idle?, id)));
            let (_, id) = idle.min()?;
            if let Some(longest) = open.remove(&id) {
                longest.close.notify_one();
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let close = Arc::new(Notify::new());
        let connection = OpenConnection {
            idle: Some(now),
            close: close.clone(),
        };
        open.insert(id, connection);
        Some(ConnectionEntry {
            all: self.clone(),
            id,
            close,
        })
    }

    /// Notes since when no request is on a connection; `None` while one is.
    pub(super) fn set_idle(&self, id: u64, idle: Option<Instant>) {
        if let Some(connection) = self.lock().get_mut(&id) {
            connection.idle = idle;
        }
    }

    /// The bounds.
    pub(super) fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// Waits until no connection is open.
    pub(super) async fn emptied(&self) {
        while self.count() > 0 {
            let left = self.left.notified();
            if self.count() > 0 {
                left.await;
            }
        }
    }

    /// Whether the connection of this number is open.
    #[cfg(test)]
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.lock().contains_key(&id)
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
        self.all.left.notify_waiters();
    }
}
