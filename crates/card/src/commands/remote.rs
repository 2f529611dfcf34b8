//! What `card draft` and `card edge` share: drafting until they are stopped.

use std::time::Duration;

use card_link::LinkError;

/// Longest wait for lanes to end, when the process does.
pub const ENDING: Duration = Duration::from_secs(10);

/// Says whether the target at `url` can be reached.
pub fn say_connected(url: &str, state: Result<(), &LinkError>) {
    match state {
        Ok(()) => eprintln!("drafting for {url}"),
        Err(error) => eprintln!("not connected: {error}; trying again"),
    }
}
