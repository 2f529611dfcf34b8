//! Rounds as they happen, for whoever looks at the page.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast::{self, Receiver};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pages that may look at rounds at a time.
const MOST_WATCHERS: usize = 32;
/// Records that wait for a page; one that is further behind misses some.
const BACKLOG: usize = 256;

/// Hands records of generations to the pages that look on.
pub(crate) struct LiveRounds {
    sender: broadcast::Sender<LiveRecord>,
    seats: Arc<Semaphore>,
}

/// What the page shows of a generation, to its owner only.
#[derive(Clone)]
pub(crate) struct LiveRecord {
    /// The name of the caller whose generation it is.
    pub(crate) owner: Arc<str>,
    /// The record as JSON text.
    pub(crate) text: Arc<str>,
}

/// A page's seat among those that look on, given back when this is dropped.
pub(crate) struct LiveSeat {
    /// What is shown from now on, of all owners.
    pub(crate) records: Receiver<LiveRecord>,
    _permit: OwnedSemaphorePermit,
}

impl LiveRounds {
    /// Nobody looks on yet.
    pub(crate) fn new() -> Self {
        LiveRounds {
            sender: broadcast::Sender::new(BACKLOG),
            seats: Arc::new(Semaphore::new(MOST_WATCHERS)),
        }
    }

    /// A seat, if one is free.
    pub(crate) fn seat(&self) -> Option<LiveSeat> {
        let permit = self.seats.clone().try_acquire_owned().ok()?;
        Some(LiveSeat {
            records: self.sender.subscribe(),
            _permit: permit,
        })
    }

    /// Shows a record to its owner. The record is only made if somebody looks on.
    pub(crate) fn show(&self, owner: &Arc<str>, record: impl FnOnce() -> Value) {
        if self.sender.receiver_count() > 0 {
            let _ = self.sender.send(LiveRecord {
                owner: owner.clone(),
                text: record().to_string().into(),
            });
        }
    }
}
