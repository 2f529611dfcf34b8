//! Loaded models with a running engine, for the commands that generate.

use anyhow::Result;
use card_engine::Engine;
use card_setup::models::catalogue::Catalogue;
use card_setup::{PauseWork, RunConfig, Settings, Setup};

/// Loaded models with their engine.
pub struct Session {
    pub setup: Setup,
    pub engine: Engine,
    /// What is measured while nothing is generated.
    measuring: Option<PauseWork>,
}

impl Session {
    /// Loads what `settings` ask for and starts its engine, without waiting for measurements that
    /// nobody made yet. `trace` has every candidate reported.
    pub fn start(settings: &Settings, catalogue: &Catalogue, trace: bool) -> Result<Session> {
        Session::of(Setup::start(settings, catalogue)?, trace)
    }

    /// The same, with everything measured before it starts.
    pub fn measured(settings: &Settings, catalogue: &Catalogue) -> Result<Session> {
        Session::of(Setup::load(settings, catalogue)?, false)
    }

    fn of(setup: Setup, trace: bool) -> Result<Session> {
        let engine = setup.engine(&RunConfig {
            trace,
            learned: setup.learned.clone(),
            ..setup.run()
        })?;
        Ok(Session {
            setup,
            engine,
            measuring: None,
        })
    }

    /// Measures in pauses what the start left out, until the session ends.
    pub fn measure_in_pauses(&mut self) {
        self.measuring = self.setup.measure_in_pauses(&self.engine);
    }

    /// Ends the engine and keeps what was learned.
    pub fn end(self) {
        match self.measuring {
            // It keeps what forwards took when it ends.
            Some(measuring) => drop(measuring),
            None => self.setup.keep_costs(&self.engine.pauses()),
        }
        if let Some(learned) = self.engine.stop() {
            self.setup.keep(&learned);
        }
    }
}
