//! A bounded channel whose messages take a while to arrive, as over a network. With no
//! latency it is the channel itself.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};

/// The sending end.
pub struct PipeSender<T> {
    inner: Sender<(Instant, T)>,
    latency: Duration,
}

/// The receiving end.
pub struct PipeReceiver<T> {
    inner: Receiver<(Instant, T)>,
    /// The next message, taken from the channel before it is due.
    coming: Option<(Instant, T)>,
}

/// A pipe that holds up to `capacity` messages.
pub(super) fn pipe<T>(capacity: usize, latency: Duration) -> (PipeSender<T>, PipeReceiver<T>) {
    let (sender, receiver) = bounded(capacity);
    let sender = PipeSender {
        inner: sender,
        latency,
    };
    let receiver = PipeReceiver {
        inner: receiver,
        coming: None,
    };
    (sender, receiver)
}

impl<T> PipeSender<T> {
    /// Sends without waiting.
    ///
    /// # Errors
    /// If the pipe is full, or nobody listens; either gives the message back.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let due = Instant::now() + self.latency;
        self.inner.try_send((due, message)).map_err(|e| match e {
            TrySendError::Full((_, m)) => TrySendError::Full(m),
            TrySendError::Disconnected((_, m)) => TrySendError::Disconnected(m),
        })
    }

    /// Sends if there is room, and drops the message if there is none; `false` if nobody
    /// listens.
    pub fn offer(&self, message: T) -> bool {
        !matches!(self.try_send(message), Err(TrySendError::Disconnected(_)))
    }

    /// Sends; `false` if nobody listens.
    pub fn send(&self, message: T) -> bool {
        let due = Instant::now() + self.latency;
        self.inner.send((due, message)).is_ok()
    }
}

impl<T> PipeReceiver<T> {
    /// The next message, if it has arrived.
    ///
    /// # Errors
    /// If no message has arrived, or there will be none any more.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        if self.coming.is_none() {
            self.coming = Some(self.inner.try_recv()?);
        }
        self.arrived().ok_or(TryRecvError::Empty)
    }

    /// Waits for the next message, at most that long.
    ///
    /// # Errors
    /// If no message arrived in that time, or there will be none any more.
    pub fn recv_timeout(&mut self, most: Duration) -> Result<T, RecvTimeoutError> {
        let until = Instant::now() + most;
        if self.coming.is_none() {
            self.coming = Some(self.inner.recv_timeout(most)?);
        }
        if let Some((due, _)) = &self.coming {
            let wait = (*due).min(until).saturating_duration_since(Instant::now());
            std::thread::sleep(wait);
        }
        self.arrived().ok_or(RecvTimeoutError::Timeout)
    }

    /// Waits for the next message; `None` if there will be none.
    pub fn recv(&mut self) -> Option<T> {
        loop {
            match self.recv_timeout(Duration::from_secs(3600)) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// What to wait for, together with other receivers: the time at which the message on its
    /// way arrives, or else the channel a message would come from.
    pub(super) fn next(&self) -> Result<Instant, &Receiver<(Instant, T)>> {
        match &self.coming {
            Some((due, _)) => Ok(*due),
            None => Err(&self.inner),
        }
    }

    /// Takes in a message from the channel that [`PipeReceiver::next`] returned.
    pub(super) fn take_in(&mut self, message: (Instant, T)) {
        self.coming = Some(message);
    }

    fn arrived(&mut self) -> Option<T> {
        self.coming
            .take_if(|(due, _)| *due <= Instant::now())
            .map(|c| c.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_late_and_in_order() {
        let (to, mut from) = pipe(4, Duration::from_millis(30));
        assert!(to.send(1) && to.send(2));
        assert_eq!(from.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(from.recv_timeout(Duration::from_secs(5)), Ok(1));
        assert_eq!(from.recv_timeout(Duration::from_secs(5)), Ok(2));
        drop(to);
        assert_eq!(from.try_recv(), Err(TryRecvError::Disconnected));
    }
}
