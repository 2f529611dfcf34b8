//! How long a link waits, and how much may be on its way.

use std::time::Duration;

/// Pause between keep-alives.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(2);
/// A side that does not answer a keep-alive for so long is gone.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for the first message, and for a connection to be used for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a drafter to get its model ready.
pub(crate) const READY: Duration = Duration::from_secs(120);
/// Messages on their way on one side; more wait.
pub(crate) const IN_FLIGHT: usize = 64;
