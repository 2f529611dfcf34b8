//! The sans-IO core of CARD: no thread, clock, file or socket.
//!
//! Two state machines meet here. The [`scheduler::Scheduler`] is the target's side: it queries
//! the candidate cache, says what the target shall decode, verifies and corrects. The
//! [`drafter::Drafter`] is the side of a draft model: it keeps a replica of the cache,
//! says what the draft model shall decode and turns the logits into expansions. They
//! exchange the messages of [`protocol`], and nothing else. Both take time as an argument, so
//! that the same code runs on real models, on emulated ones and in a simulator; the loop that
//! drives them is the [`driver`].

#![forbid(unsafe_code)]

pub mod acceptance;
pub mod backoff;
pub mod busy;
pub mod cache;
pub mod constraint;
pub mod cost;
pub mod drafter;
pub mod driver;
pub mod forward;
pub mod mixer;
mod moving_average;
pub mod policy;
mod prefix_cache;
pub mod protocol;
pub mod sampler;
mod saved_states;
pub mod scheduler;
mod scouted_text;
pub mod shortfall;
pub mod sources;
pub mod synthetic;
pub mod translation;
pub mod types;
pub mod words;
