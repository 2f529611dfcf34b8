//! Loaded models with a running engine, for the commands that generate.

use anyhow::Result;
use card_engine::Engine;
use card_setup::models::catalogue::Catalogue;
use card_setup::{RunConfig, Settings, Setup};

/// Loaded models with their engine.
pub struct Session {
    pub setup: Setup,
    pub engine: Engine,
}

impl Session {
    /// Loads what `settings` ask for and starts its engine. `trace` has every candidate reported.
    pub fn start(settings: &Settings, catalogue: &Catalogue, trace: bool) -> Result<Session> {
        let setup = Setup::load(settings, catalogue)?;
        let engine = setup.engine(&RunConfig {
            trace,
            learned: setup.learned.clone(),
            ..setup.run()
        })?;
        Ok(Session { setup, engine })
    }

    /// Ends the engine and keeps what was learned.
    pub fn end(self) {
        if let Some(learned) = self.engine.stop() {
            self.setup.keep(&learned);
        }
    }
}
