//! What an engine reports of a generation, and why a generation fails.

use card_core::scheduler::{Finish, RequestError, Round};
use card_core::types::Token;

/// News of a generation. Every generation ends with exactly one [`Event::Finished`] or
/// [`Event::Failed`].
#[derive(Clone, Debug)]
pub enum Event {
    /// The target committed these tokens.
    Tokens(Vec<Token>),
    /// A round of the target is done.
    Round(Box<Round>),
    /// The generation ended; nothing follows.
    Finished(Finish),
    /// The generation could not start or go on; nothing follows.
    Failed(Failure),
}

/// Why a generation failed, or the engine refuses one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The request is impossible.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The target failed. Other requests may go on, and new ones may come.
    #[error("{0}")]
    Target(String),
    /// The grammar cannot go on.
    #[error("the grammar failed: {0}")]
    Constraint(String),
    /// Nobody read the events, and too many of them wait.
    #[error("the generation was given up: {0} events of it wait to be read")]
    Unread(usize),
    /// The engine takes no more drafters that come by themselves, since as many as may be are
    /// attached.
    #[error("{0}")]
    Refused(String),
    /// The engine does not work any more, for this reason.
    #[error("the engine has stopped: {0}")]
    Stopped(String),
}
