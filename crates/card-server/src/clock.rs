//! Moments: how long a request may take, and the time of day.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use card_api::ApiError;

/// The longest time-out. A clock cannot add any duration to a moment, so longer time-outs are
/// cut to this one.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// When a request has to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestDeadline {
    /// The moment.
    pub(crate) at: Instant,
    /// Seconds from the request's first byte until then, for the message.
    seconds: u64,
}

impl RequestDeadline {
    /// `most` after `came`, the moment of the request's first byte.
    pub(crate) fn new(came: Instant, most: Duration) -> Self {
        let most = most.min(LONGEST);
        RequestDeadline {
            at: came + most,
            seconds: most.as_secs(),
        }
    }

    /// What the client hears when the deadline has passed.
    pub(crate) fn passed(&self) -> ApiError {
        ApiError::timeout(self.seconds)
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}
