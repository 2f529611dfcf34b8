//! What a server of tests serves, and how.

use std::sync::Arc;
use std::time::Duration;

use card_api::health::ExactnessAnswer;
use card_core::forward::{Limits, Model, Rollback};
use card_core::policy::Mode;
use card_core::protocol::Lanes;
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_engine::{Draft, Engine, Options};

use super::embedder::ByteEmbedder;
use super::model::PacedModel;
use super::template::Turns;
use super::tokenizer::{ByteTokenizer, FILL_TOKENS, FillTokenizer, TOKENS};
use crate::caller::keys::Key;
use crate::config::ServerConfig;
use crate::served::ServedModel;
use crate::text::{Embedder, Tokenizer, VectorKind};

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
    /// What the server makes of texts, if it makes vectors and writes none.
    pub vectors: Option<VectorKind>,
    /// The rest of the settings.
    pub config: ServerConfig,
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
            vectors: None,
            config: ServerConfig::default(),
        }
    }
}

/// What is served for a setup, and how.
///
/// # Errors
/// If the system gives no thread.
pub fn served(setup: &TestSetup) -> std::io::Result<(ServedModel, ServerConfig)> {
    let target = PacedModel {
        inner: model(setup, 0.0),
        forward: setup.forward,
        left: setup.break_after,
    };
    let draft: Box<dyn Model + Send> = Box::new(model(setup, 0.5));
    let options = Options {
        mode: Mode::Card,
        lanes: Lanes::Shared,
        prefix_slots: setup.parallel,
        trace: true,
        ..Options::default()
    };
    let engine = Engine::start(Box::new(target), [Draft::from(draft)], options)?;
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
    let tokenizer: Arc<dyn Tokenizer> = if setup.fills {
        Arc::new(FillTokenizer)
    } else {
        Arc::new(ByteTokenizer)
    };
    let served = ServedModel {
        engine: Arc::new(engine),
        tokenizer,
        template: Some(Arc::new(Turns)),
        name: "synthetic".into(),
        context: setup.context,
        note: Some("a synthetic model".into()),
        exactness: exactness(),
        embedder: setup.vectors.map(|kind| embedder(kind, setup.context)),
    };
    Ok((served, config))
}

fn embedder(kind: VectorKind, context: u32) -> Arc<dyn Embedder> {
    Arc::new(ByteEmbedder { kind, context })
}

/// A synthetic model; a draft model has noise, so that it errs.
fn model(setup: &TestSetup, noise: f32) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: if setup.fills { FILL_TOKENS } else { TOKENS },
        seed: 7,
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
