//! One direction of a connection in virtual time: messages arrive late, and in order.

use std::collections::VecDeque;
use std::time::Duration;

use crate::scenario::LinkSpec;

/// What a retransmission takes at least (RFC 6298 rounds up to a second; Linux to 200 ms).
const RETRANSMIT: Duration = Duration::from_millis(200);

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    link: LinkSpec,
    /// When the last message arrives; no later one arrives earlier.
    last: Duration,
    /// Messages on their way, with the times at which they arrive, in order.
    coming: VecDeque<(Duration, T)>,
}

impl<T> Wire<T> {
    pub(crate) fn new(link: LinkSpec) -> Self {
        Wire {
            link,
            last: Duration::ZERO,
            coming: VecDeque::new(),
        }
    }

    /// Sends a message now; `held` is when a partition ends that is on.
    pub(crate) fn send(
        &mut self,
        message: T,
        now: Duration,
        held: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) {
        let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
        let way = ms(self.link.latency_ms + self.link.jitter_ms * rng.f64());
        let mut due = now.max(held.unwrap_or_default()) + way;
        while rng.f64() < self.link.loss {
            due += RETRANSMIT.max(2 * ms(self.link.latency_ms));
        }
        // Nothing overtakes.
        self.last = self.last.max(due);
        self.coming.push_back((self.last, message));
    }

    /// A partition begins: what is on its way arrives after its end.
    pub(crate) fn hold(&mut self, until: Duration) {
        let way = Duration::from_secs_f64(self.link.latency_ms / 1e3);
        for (due, _) in &mut self.coming {
            *due = (*due).max(until + way);
        }
        if let Some((due, _)) = self.coming.back() {
            self.last = *due;
        }
    }

    /// The connection is reset.
    pub(crate) fn cut(&mut self) {
        self.coming.clear();
    }

    /// When the next message arrives.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.coming.front().map(|m| m.0)
    }

    /// A message that has arrived.
    pub(crate) fn take(&mut self, now: Duration) -> Option<T> {
        let arrived = self.coming.front().is_some_and(|m| m.0 <= now);
        arrived
            .then(|| self.coming.pop_front().map(|m| m.1))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_late_and_in_order_and_a_cut_loses_them() {
        let link = LinkSpec {
            latency_ms: 10.0,
            jitter_ms: 8.0,
            loss: 0.3,
        };
        let mut rng = fastrand::Rng::with_seed(3);
        let mut wire = Wire::new(link);
        for i in 0..50 {
            wire.send(i, Duration::from_millis(i), None, &mut rng);
        }
        assert!(wire.next() >= Some(Duration::from_millis(10)));
        let mut heard = Vec::new();
        while let Some(at) = wire.next() {
            heard.extend(wire.take(at));
        }
        assert_eq!(heard, (0..50).collect::<Vec<_>>());
        wire.send(1, Duration::ZERO, None, &mut rng);
        wire.cut();
        assert_eq!(wire.next(), None);
    }
}
