//! Forwards in virtual time: computed when they begin, over when their cost says so.

use std::time::Duration;

use card_core::forward::{Forward, KvOp, Limits, Model, Rollback};

use crate::scenario::Scenario;

/// A forward that a machine is at.
pub(crate) struct RunningForward {
    pub(crate) forward: Forward,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

impl RunningForward {
    /// Time that the forward takes.
    pub(crate) fn time(&self) -> Duration {
        self.end - self.start
    }
}

/// What a model with these (rows, milliseconds) points can take in this scenario.
pub(crate) fn limits(points: &[(u32, f64)], scenario: &Scenario) -> Limits {
    let load = &scenario.load;
    let length = load.prompt_tokens + load.output_tokens as usize + 2;
    Limits {
        context: length as u32,
        cells: 2 * load.parallel * length + 4096,
        rows: points.iter().map(|p| p.0).max().unwrap_or(1) as usize,
        // A chain and a side branch for each sequence at least.
        leaves: (2 * load.parallel).max(64),
        rollback: Rollback::Free,
    }
}

/// Applies KV changes. A bookkeeping mistake shows as an error of the model: a bug, and no
/// fault of the scenario.
pub(crate) fn apply(model: &mut dyn Model, ops: Vec<KvOp>) {
    for op in ops {
        if let Err(error) = model.apply(op) {
            panic!("{error}");
        }
    }
}

/// Decodes a forward. See [`apply`].
pub(crate) fn decode(model: &mut dyn Model, forward: &Forward) {
    if let Err(error) = model.forward(forward) {
        panic!("{error}");
    }
}

/// So many milliseconds.
pub(crate) fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}
