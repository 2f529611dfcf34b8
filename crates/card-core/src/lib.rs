//! The sans-IO core of CARD: no thread, clock, file or socket.
//!
//! Two state machines meet here. The [`engine::Engine`] is the target's side: it queries
//! the candidate cache, says what the target shall decode, verifies and corrects. The
//! [`drafter::Drafter`] is the side of a draft model: it keeps a replica of the cache,
//! says what the draft model shall decode and turns the logits into expansions. They
//! exchange commits and expansions, and nothing else. Both take time as an argument, so
//! that the same code runs on real models, on emulated ones and in a simulator.

#![forbid(unsafe_code)]

pub mod acceptance;
pub mod backoff;
pub mod cache;
pub mod constraint;
pub mod cost;
pub mod drafter;
pub mod engine;
pub mod forward;
pub mod mixer;
mod parked;
pub mod policy;
pub mod sampler;
pub mod sources;
pub mod synthetic;
pub mod types;
