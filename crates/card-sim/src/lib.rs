//! The production core in virtual time.
//!
//! Engine and drafter are the ones that run real models; only the models, the clock and the
//! links are made up, so thousands of requests on devices nobody has at hand, with links
//! that lag and machines that fail, take seconds. A seed decides everything, so that a run
//! that went wrong can be run again. All figures are simulated, and say so where they are
//! shown.

#![forbid(unsafe_code)]

pub mod builtin;
pub mod language;
mod link;
mod node;
pub mod outcome;
pub mod recording;
pub mod scenario;
pub mod study;
mod world;

pub use outcome::{Outcome, Served};
pub use recording::Recording;
pub use scenario::{Scenario, ScenarioError};

/// Runs a scenario to its end.
///
/// # Errors
/// If the scenario makes no sense.
pub fn simulate(scenario: &Scenario) -> Result<Outcome, ScenarioError> {
    scenario.check()?;
    Ok(world::World::new(scenario).run())
}
