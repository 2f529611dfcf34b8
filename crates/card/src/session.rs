//! A loaded pair with a running engine, for the commands that generate.

use anyhow::Result;
use card_engine::Engine;

use crate::args::ModelArgs;
use crate::rig::{Rig, Run};
use card_setup::models::catalogue::Catalogue;

/// A loaded pair with its engine.
pub struct Session {
    pub rig: Rig,
    pub engine: Engine,
}

impl Session {
    /// Loads what `args` ask for and starts its engine.
    pub fn start(args: &ModelArgs, catalogue: &Catalogue, trace: bool) -> Result<Session> {
        let rig = Rig::load(args, catalogue)?;
        let engine = rig.engine(&Run {
            trace,
            memory: rig.memory.clone(),
            ..rig.run()
        })?;
        Ok(Session { rig, engine })
    }

    /// Ends the engine and keeps what was learned.
    pub fn end(self) {
        if let Some(memory) = self.engine.stop() {
            self.rig.keep(&memory);
        }
    }
}
