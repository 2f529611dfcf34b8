//! Running a scenario.

use crate::error::ScenarioError;
use crate::outcome::Outcome;
use crate::scenario::Scenario;
use crate::world::World;

/// Runs a scenario to its end.
///
/// # Errors
/// If the scenario makes no sense.
pub fn simulate(scenario: &Scenario) -> Result<Outcome, ScenarioError> {
    scenario.check()?;
    Ok(World::new(scenario).run())
}
