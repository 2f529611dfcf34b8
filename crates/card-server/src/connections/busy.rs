//! A connection is busy from when a request was let in until the body of its answer is done.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use tokio::sync::Notify;

use super::first_byte::FirstBytes;
use super::registry::{ConnectionEntry, Connections};

/// A request on a connection. Until it [begins](Busy::begin) the connection is idle, and may
/// have to make room for another.
pub(crate) struct Busy {
    all: Arc<Connections>,
    id: u64,
    close: Arc<Notify>,
    first_byte: FirstBytes,
}

impl Busy {
    /// A request on the connection of this entry, whose stream notes the first bytes of requests
    /// in `first_byte`.
    pub(super) fn new(entry: &ConnectionEntry, first_byte: FirstBytes) -> Self {
        Busy {
            all: entry.all.clone(),
            id: entry.id,
            close: entry.close.clone(),
            first_byte,
        }
    }

    /// Closes the connection that the request is on, once it is called. Who holds it does not keep
    /// the connection busy.
    pub(crate) fn closer(&self) -> impl FnOnce() + Send + use<> {
        let close = self.close.clone();
        move || close.notify_one()
    }

    /// The request was let in, so that its connection is busy.
    pub(crate) fn begin(&self) {
        self.all.set_idle(self.id, None);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.first_byte.wait();
        self.all.set_idle(self.id, Some(Instant::now()));
    }
}

/// The body of an answer, until whose end its connection is busy.
pub(super) struct BusyBody {
    body: Body,
    _busy: Arc<Busy>,
}

impl BusyBody {
    /// The body of the answer to the request that `busy` stands for.
    pub(super) fn new(body: Body, busy: Arc<Busy>) -> Self {
        BusyBody { body, _busy: busy }
    }
}

impl hyper::body::Body for BusyBody {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::super::limits::ConnectionLimits;
    use super::*;

    fn connections(most: usize) -> Arc<Connections> {
        Connections::new(ConnectionLimits {
            most,
            ..ConnectionLimits::default()
        })
    }

    #[test]
    fn the_one_idle_longest_makes_room_and_a_busy_one_does_not() {
        let all = connections(2);
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let first = all.admit(after(0)).unwrap();
        let second = all.admit(after(1)).unwrap();
        let busy = |entry: &ConnectionEntry| {
            let busy = Busy::new(entry, FirstBytes::default());
            busy.begin();
            busy
        };
        let first_busy = busy(&first);
        let third = all.admit(after(2)).unwrap();
        assert_eq!(all.count(), 2);
        assert!(!all.is_open(second.id));
        let third_busy = busy(&third);
        assert!(all.admit(after(3)).is_none());
        drop((first_busy, third_busy));
        assert!(all.admit(after(4)).is_some());
        drop((first, second, third));
        assert_eq!(all.count(), 0);
    }

    #[tokio::test]
    async fn who_may_close_a_connection_does_not_keep_it_busy() {
        let all = connections(1);
        let now = Instant::now();
        let first = all.admit(now).unwrap();
        let busy = Busy::new(&first, FirstBytes::default());
        busy.begin();
        let close = busy.closer();
        assert!(all.admit(now).is_none());
        drop(busy);
        close();
        first.close.notified().await;
        assert!(all.admit(now).is_some());
    }
}
