//! What a server of tests serves, and how.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use card_api::health::ExactnessAnswer;
use card_api::openai::response::models::LoadStage;
use card_core::forward::{Limits, Model, Rollback};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_engine::{Draft, Engine, Options};

use super::embedder::ByteEmbedder;
use super::model::PacedModel;
use super::template::{ThinkingTurns, Turns};
use super::tokenizer::{ByteTokenizer, FILL_TOKENS, FillTokenizer, TOKENS};
use crate::caller::keys::Key;
use crate::config::ServerConfig;
use crate::registry::{ListedModel, ModelSource};
use crate::served::ServedModel;
use crate::text::{Embedder, Template, Tokenizer, VectorKind};

/// What to serve.
#[derive(Clone, Debug)]
pub struct TestSetup {
    /// Names and secrets of keys.
    pub keys: Vec<(String, String)>,
    /// Generations at a time.
    pub parallel: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Tokens of context.
    pub context: u32,
    /// What a forward of the target takes.
    pub forward: Duration,
    /// The target's thread panics after so many forwards.
    pub break_after: Option<u64>,
    /// Whether the vocabulary has tokens to fill in the middle of a text with.
    pub fills: bool,
    /// Whether the chat template begins each answer with thoughts.
    pub opens_thoughts: bool,
    /// What the server makes of texts, if it makes vectors and writes none.
    pub vectors: Option<VectorKind>,
    /// Names of further models, beside the default one, which is called `synthetic`.
    pub others: Vec<String>,
    /// Whether a request that names no model is answered by the default one.
    pub default_model: bool,
    /// What loading a model waits for, if it waits.
    pub gate: Option<LoadGate>,
    /// The rest of the settings.
    pub config: ServerConfig,
}

/// The name of the default model.
const SYNTHETIC: &str = "synthetic";

/// What loading a model waits for. A clone is the same gate.
#[derive(Clone, Debug, Default)]
pub struct LoadGate(Arc<Gate>);

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    broken: BTreeSet<String>,
    loads: Vec<String>,
    progress: Option<LoadStage>,
}

impl LoadGate {
    /// Lets all loads through from now on.
    pub fn open(&self) {
        self.change(|state| state.open = true);
    }

    /// Lets no load through until it is opened.
    pub fn shut(&self) {
        self.change(|state| state.open = false);
    }

    /// The model of this name cannot be loaded from now on.
    pub fn break_model(&self, name: &str) {
        self.change(|state| {
            state.broken.insert(name.to_owned());
        });
    }

    /// So much of the target is loaded, as is told from now on.
    pub fn tell_percent(&self, percent: u8) {
        self.change(|state| {
            state.progress = Some(LoadStage {
                what: "target".to_owned(),
                percent,
            });
        });
    }

    fn progress(&self) -> Option<LoadStage> {
        let state = self.0.state.lock();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.progress.clone()
    }

    /// The names of the models whose loading was begun, in that order.
    pub fn loads(&self) -> Vec<String> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).loads.clone()
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        let state = self.0.state.lock();
        change(&mut state.unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_all();
    }

    /// Waits until the gate is open.
    fn pass(&self, name: &str) -> Result<(), String> {
        let state = self.0.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.loads.push(name.to_owned());
        let closed = |state: &mut GateState| !state.open;
        let passed = self.0.changed.wait_while(state, closed);
        let state = passed.unwrap_or_else(PoisonError::into_inner);
        if state.broken.contains(name) {
            return Err(format!("{name} is a broken model, in a secret folder"));
        }
        Ok(())
    }
}

impl Default for TestSetup {
    fn default() -> Self {
        TestSetup {
            keys: Vec::new(),
            parallel: 4,
            queue: 64,
            context: 4096,
            forward: Duration::ZERO,
            break_after: None,
            fills: false,
            opens_thoughts: false,
            vectors: None,
            others: Vec::new(),
            default_model: true,
            gate: None,
            config: ServerConfig::default(),
        }
    }
}

/// The models of a setup, and how they are served.
pub fn served(setup: &TestSetup) -> (Arc<dyn ModelSource>, ServerConfig) {
    let keys = setup.keys.iter().map(|(name, secret)| Key {
        name: name.clone(),
        secret: secret.clone(),
    });
    let config = ServerConfig {
        keys: keys.collect(),
        parallel: setup.parallel,
        queue: setup.queue,
        ..setup.config.clone()
    };
    (Arc::new(SyntheticModels(setup.clone())), config)
}

/// Synthetic models, by name. Each has another text.
struct SyntheticModels(TestSetup);

impl ModelSource for SyntheticModels {
    fn list(&self) -> Vec<ListedModel> {
        let names = std::iter::once(SYNTHETIC).chain(self.0.others.iter().map(String::as_str));
        let listed = names.map(|name| ListedModel {
            name: name.to_owned(),
            context: Some(self.0.context),
            drafter: None,
        });
        listed.collect()
    }

    fn default_model(&self) -> Option<String> {
        self.0.default_model.then(|| SYNTHETIC.to_owned())
    }

    fn load(&self, name: &str) -> Result<ServedModel, String> {
        if let Some(gate) = &self.0.gate {
            gate.pass(name)?;
        }
        let number = self.0.others.iter().position(|other| other == name);
        let seed = 7 + number.map_or(0, |n| n as u64 + 1);
        model_served(&self.0, name, seed).map_err(|e| e.to_string())
    }

    fn progress(&self) -> Option<LoadStage> {
        self.0.gate.as_ref()?.progress()
    }
}

/// A synthetic model of this name, with its engine.
fn model_served(setup: &TestSetup, name: &str, seed: u64) -> std::io::Result<ServedModel> {
    let target = PacedModel {
        inner: model(setup, seed, 0.0),
        forward: setup.forward,
        left: setup.break_after,
    };
    let draft: Box<dyn Model + Send> = Box::new(model(setup, seed, 0.5));
    let options = Options {
        mode: Mode::Card,
        lanes: Lanes::Shared,
        prefix_slots: setup.parallel,
        trace: true,
        ..Options::default()
    };
    let engine = Engine::start(Box::new(target), [Draft::from(draft)], options)?;
    let tokenizer: Arc<dyn Tokenizer> = if setup.fills {
        Arc::new(FillTokenizer)
    } else {
        Arc::new(ByteTokenizer)
    };
    let template: Arc<dyn Template> = if setup.opens_thoughts {
        Arc::new(ThinkingTurns)
    } else {
        Arc::new(Turns)
    };
    Ok(ServedModel {
        engine: Arc::new(engine),
        tokenizer,
        template: Some(template),
        name: name.to_owned(),
        context: setup.context,
        note: Some("a synthetic model".into()),
        exactness: exactness(),
        embedder: setup.vectors.map(|kind| embedder(kind, setup)),
        file: None,
        drafter: Some("noisy".into()),
        sampling: None,
        keep: Arc::new(|_| {}),
    })
}

fn embedder(kind: VectorKind, setup: &TestSetup) -> Arc<dyn Embedder> {
    Arc::new(ByteEmbedder {
        kind,
        context: setup.context,
        forward: setup.forward,
    })
}

/// A synthetic model; a draft model has noise, so that it errs.
fn model(setup: &TestSetup, seed: u64, noise: f32) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: if setup.fills { FILL_TOKENS } else { TOKENS },
        seed,
        spread: 2.0,
        noise,
        noise_seed: 11,
        limits: Limits {
            context: setup.context,
            cells: setup.context as usize * (2 * setup.parallel + 1),
            rows: 256,
            leaves: 16,
            rollback: Rollback::Free,
        },
    })
}

fn exactness() -> ExactnessAnswer {
    ExactnessAnswer {
        level: "exact".into(),
        means: Some("any-shape".into()),
        kernels: "no kernels, a synthetic model".into(),
        words: "exact: every shape of forward gives the same logits (no kernels, a synthetic \
                model)"
            .into(),
    }
}
