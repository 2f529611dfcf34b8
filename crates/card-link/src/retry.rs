//! When a target is dialled again.

use std::time::Duration;

use card_core::backoff::Backoff;

/// After a connection of this length, earlier failures are forgotten.
const SOUND: Duration = Duration::from_secs(30);

/// The pauses of a side that dials.
#[derive(Debug)]
pub(crate) struct Retry(Backoff);

impl Retry {
    pub(crate) fn new() -> Self {
        Retry(Backoff::DRAFTER)
    }

    /// How long to pause after a connection that held for that long; `None` if there was none.
    pub(crate) fn pause(&mut self, held: Option<Duration>) -> Duration {
        if held.is_some_and(|held| held >= SOUND) {
            self.0.reset();
        }
        self.0.fail()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_held_is_dialled_again_at_once_however_often_it_failed_before() {
        let mut retry = Retry::new();
        let first = retry.pause(None);
        for _ in 0..20 {
            retry.pause(None);
        }
        assert!(retry.pause(Some(Duration::from_secs(1))) > 10 * first);
        assert_eq!(retry.pause(Some(SOUND)), first);
        // One that comes and goes does not count as sound.
        let flapping: Vec<_> = (0..3)
            .map(|_| retry.pause(Some(Duration::from_millis(10))))
            .collect();
        assert_eq!(flapping, [2 * first, 4 * first, 8 * first]);
    }
}
