//! The reader's end of a generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Receiver;

use crate::event::Event;

/// The events of one generation. Dropping it cancels the generation.
pub struct Stream {
    events: Receiver<Event>,
    cancelled: Cancelled,
}

/// Whether a reader gave a generation up. A flag, and no message, since a full channel could
/// lose a message. The clones share the flag, which never goes back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// Raises the flag.
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is up.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Stream {
    /// The stream of a generation that sends to `events`, and the flag that it raises when it
    /// is cancelled.
    pub(crate) fn new(events: Receiver<Event>) -> (Self, Cancelled) {
        let cancelled = Cancelled::default();
        let stream = Stream {
            events,
            cancelled: cancelled.clone(),
        };
        (stream, cancelled)
    }

    /// The next event; `None` once the generation is over.
    pub fn next(&self) -> Option<Event> {
        self.events.recv().ok()
    }

    /// The channel of the events, to wait for them together with other things.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Asks for an early end; [`Event::Finished`] follows.
    pub fn cancel(&self) {
        self.cancelled.set();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel();
    }
}
