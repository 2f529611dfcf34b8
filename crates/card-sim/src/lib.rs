//! The production core in virtual time.
//!
//! Scheduler, drafter and driver are the ones that run real models; only the models, the clock
//! and the links are made up, so thousands of requests on devices nobody has at hand, with
//! links that lag and machines that fail, take seconds. A seed decides everything, so that a
//! run that went wrong can be run again. All figures are simulated, and say so where they are
//! shown.

#![forbid(unsafe_code)]

pub mod builtin;
pub mod bursts;
mod connection;
mod error;
mod faults;
mod figure;
pub mod forced;
mod forwards;
mod garbage;
pub mod goodput;
mod host;
pub mod language;
mod machine;
pub mod outcome;
pub mod page;
pub mod recording;
mod requests;
pub mod scenario;
mod seat;
mod simulate;
pub mod study;
mod wire;
mod world;

pub use error::ScenarioError;
pub use outcome::{Outcome, Served};
pub use recording::Recording;
pub use scenario::Scenario;
pub use simulate::simulate;
