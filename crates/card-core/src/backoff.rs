//! Pauses before something that failed is tried again.

use std::time::Duration;

/// A pause that doubles with each failure, up to a bound (truncated exponential backoff).
///
/// ```
/// use std::time::Duration;
///
/// use card_core::backoff::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
/// let pauses = [(); 3].map(|()| backoff.fail().as_secs());
/// assert_eq!(pauses, [1, 2, 3]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// The pause before a drafter is made anew, or dialled again, if a user says nothing.
    pub const DRAFTER: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

    /// Pauses from `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Backoff {
            first,
            next: first,
            longest,
        }
    }

    /// These pauses, but beginning with `first`.
    pub const fn starting(self, first: Duration) -> Self {
        Backoff::new(first, self.longest)
    }

    /// The attempt worked: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The attempt failed: how long to pause now.
    pub fn fail(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(5));
        let pauses: Vec<_> = (0..5).map(|_| backoff.fail().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.fail(), seconds(1));
    }
}
