//! Who may run: a number of slots, and a bounded line in front of them, first come first
//! served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use card_api::ApiError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slots and the line.
pub struct Queue {
    slots: Arc<Semaphore>,
    count: usize,
    most: usize,
    waiting: AtomicUsize,
    /// How long a generation takes by now, in milliseconds.
    usual_ms: AtomicUsize,
}

impl Queue {
    /// `slots` generations at a time, `most` waiting.
    pub fn new(slots: usize, most: usize) -> Self {
        Queue {
            slots: Arc::new(Semaphore::new(slots)),
            count: slots.max(1),
            most,
            waiting: AtomicUsize::new(0),
            usual_ms: AtomicUsize::new(5000),
        }
    }

    /// Waits for a slot; it is free again when the permit is dropped.
    ///
    /// # Errors
    /// At once if the line is full, after `most` if it does not move.
    pub async fn enter(&self, most: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= self.most {
            drop(place);
            return Err(ApiError::busy(self.wait_s()));
        }
        let permit = tokio::time::timeout(most, self.slots.clone().acquire_owned()).await;
        drop(place);
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ApiError::draining()),
            Err(_) => Err(ApiError::timeout(most.as_secs())),
        }
    }

    /// Notes how long a generation took.
    pub fn took(&self, time: Duration) {
        let usual = self.usual_ms.load(Ordering::Relaxed);
        let time = time.as_millis() as usize;
        let usual = (usual * 9 + time) / 10;
        self.usual_ms.store(usual, Ordering::Relaxed);
    }

    /// Requests in the line.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Generations at work.
    pub fn running(&self) -> usize {
        self.count - self.slots.available_permits().min(self.count)
    }

    /// Seconds after which a place should be free.
    fn wait_s(&self) -> u32 {
        let usual = self.usual_ms.load(Ordering::Relaxed) as f64 / 1e3;
        let rounds = 1.0 + self.most as f64 / self.count as f64 / 2.0;
        (usual * rounds).ceil().clamp(1.0, 120.0) as u32
    }
}

/// A place in the line, given up in any case.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn first_come_first_served_and_the_line_ends() {
        let queue = Queue::new(1, 1);
        let long = Duration::from_secs(60);
        let first = queue.enter(long).await.unwrap();
        assert_eq!(queue.running(), 1);
        let second = queue.enter(long);
        tokio::pin!(second);
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert_eq!(queue.waiting(), 1);
        assert_eq!(queue.enter(long).await.unwrap_err().status, 429);
        drop(first);
        let second = second.await.unwrap();
        assert_eq!((queue.waiting(), queue.running()), (0, 1));
        drop(second);
        assert_eq!(queue.running(), 0);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_the_line() {
        let queue = Queue::new(1, 1);
        let long = Duration::from_secs(60);
        let _first = queue.enter(long).await.unwrap();
        {
            let second = queue.enter(long);
            tokio::pin!(second);
            assert!(futures_util::poll!(second.as_mut()).is_pending());
        }
        assert_eq!(queue.waiting(), 0);
        let late = queue.enter(Duration::from_millis(1)).await;
        assert_eq!(late.unwrap_err().status, 504);
    }
}
