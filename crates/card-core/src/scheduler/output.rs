//! What the scheduler asks its caller to do, and what it reports.

use std::time::Duration;

use super::round::Round;
use crate::forward::Forward;
use crate::types::{SequenceId, Source, Token};

/// Why a generation ended.
///
/// ```
/// use card_core::scheduler::Finish;
///
/// assert_ne!(Finish::Stop, Finish::Length);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The target wrote a token that ends it.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    ContextFull,
    /// Cancelled.
    Cancelled,
}

/// What the scheduler asks its caller to do.
#[derive(Debug)]
pub enum Action {
    /// Apply [`Scheduler::take_ops`](super::Scheduler::take_ops), decode this on the target,
    /// then [`Scheduler::complete`](super::Scheduler::complete) it.
    Forward(Forward),
    /// Let this drafter take one step on the shared lane first.
    Draft(Source),
    /// Wait for news from the drafter, at most until then.
    Wait(Duration),
    /// Nothing to do until a request comes.
    Idle,
}

/// What the scheduler reports.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tokens were committed: index of the first, and the tokens. A token that ended the
    /// sequence is not among them.
    Tokens(SequenceId, u32, Vec<Token>),
    /// A round was done.
    Round(Box<Round>),
    /// A sequence ended.
    Finished(SequenceId, Finish),
    /// A sequence ended because its constraint failed, for this reason.
    Failed(SequenceId, String),
}
