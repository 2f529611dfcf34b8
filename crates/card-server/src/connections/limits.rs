//! Bounds of connections.

use std::time::Duration;

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at a time. One more takes the place of the one that was idle longest.
    pub most: usize,
    /// A connection on which no request comes, or whose head takes longer, is closed.
    pub idle: Duration,
    /// A connection whose client takes nothing of an answer for so long is closed.
    pub stalled: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            most: 1024,
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(60),
        }
    }
}
