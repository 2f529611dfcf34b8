//! What a generation tells, and why it fails.

use card_core::engine::{Finish, RequestError, Round};
use card_core::types::Token;

/// News of a generation.
#[derive(Clone, Debug)]
pub enum Event {
    /// Tokens were committed.
    Tokens(Vec<Token>),
    /// A round was done.
    Round(Box<Round>),
    /// It ended; nothing follows.
    Finished(Finish),
    /// It could not start or go on; nothing follows.
    Failed(Failure),
}

/// Why a generation failed, or the engine refuses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The request cannot be.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The target failed. Other requests may go on, and new ones may come.
    #[error("{0}")]
    Target(String),
    /// The grammar cannot go on.
    #[error("the grammar failed: {0}")]
    Constraint(String),
    /// Nobody read the events, so that too many of them waited.
    #[error("the generation was given up: {0} events of it wait to be read")]
    Unread(usize),
    /// The engine takes no more of these.
    #[error("{0}")]
    Refused(String),
    /// The engine does not work any more, for this reason.
    #[error("the engine has stopped: {0}")]
    Stopped(String),
}
