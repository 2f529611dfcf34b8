//! Why a scenario or a recording cannot be simulated.

/// Why a scenario or a recording cannot be simulated.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct ScenarioError(pub String);
