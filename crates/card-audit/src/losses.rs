//! Records that were not written: how many, from when to when.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::record::gap;

/// What was lost since the last record that was written.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<Option<Loss>>);

/// Records that were lost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loss {
    /// The number of records.
    pub lost: u64,
    /// The time at which the first was lost, in milliseconds since 1970.
    pub since: u64,
    /// The time at which the last was lost, in milliseconds since 1970.
    pub until: u64,
}

impl Losses {
    fn inner(&self) -> MutexGuard<'_, Option<Loss>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one record that was lost at this time.
    pub fn count(&self, at: u64) {
        self.put(Loss {
            lost: 1,
            since: at,
            until: at,
        });
    }

    /// Takes what was lost so far: the caller writes it into the log, or puts it back.
    pub fn take(&self) -> Option<Loss> {
        self.inner().take()
    }

    /// Counts a loss that was taken and could not be written, or a new one.
    pub fn put(&self, more: Loss) {
        let mut inner = self.inner();
        *inner = Some(match inner.take() {
            None => more,
            Some(loss) => Loss {
                lost: loss.lost + more.lost,
                since: loss.since.min(more.since),
                until: loss.until.max(more.until),
            },
        });
    }
}

impl Loss {
    /// The record by which the log says what it lost.
    pub fn record(&self) -> Value {
        gap(
            Some(self.lost),
            Some(self.since),
            self.until,
            "they could not be written",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_add_up_and_are_told_once() {
        let losses = Losses::default();
        assert_eq!(losses.take(), None);
        losses.count(5);
        losses.count(9);
        let loss = losses.take().unwrap();
        assert_eq!((loss.lost, loss.since, loss.until), (2, 5, 9));
        assert_eq!(losses.take(), None);
        losses.count(11);
        losses.put(loss);
        let loss = losses.take().unwrap();
        assert_eq!((loss.lost, loss.since, loss.until), (3, 5, 11));
        assert!(
            loss.record()
                .to_string()
                .starts_with("{\"kind\":\"gap\",\"lost\":3,")
        );
    }
}
