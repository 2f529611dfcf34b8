//! What the two sides say to each other.
//!
//! The [`Scheduler`](crate::scheduler::Scheduler) (the target's side) and a
//! [`Drafter`](crate::drafter::Drafter) share no memory. They exchange these messages, in one
//! process or over a network:
//!
//! - The scheduler's side says how to draft ([`DraftPlan`]) and what was written
//!   ([`DraftInput`]).
//! - A drafter answers with candidates ([`Drafted`]), and says what it could do next
//!   ([`Outlook`]) where both sides take turns on one device ([`Lanes`]).
//!
//! A message may come from another machine. Types that carry numbers check them
//! ([`Prob`](crate::types::Prob), [`Rows`](crate::types::Rows),
//! [`Sampling`](crate::sampler::Sampling)); whether a message makes sense is checked by whoever
//! receives it.

mod drafted;
mod forced;
mod input;
mod outlook;
mod plan;

pub use drafted::{Drafted, Expansion};
pub use forced::ForcedProposals;
pub use input::{DraftInput, DraftShare};
pub use outlook::{Lanes, Outlook};
pub use plan::DraftPlan;
