//! What all requests to a model share, and what all requests of a server share.

mod audit_trail;
mod common;
mod item_memory;
mod live;
mod model_facts;
mod model_text;
mod request_numbers;
mod slot_texts;

use std::sync::Arc;
use std::time::Instant;

use card_core::types::Token;
use card_engine::Engine;

pub(crate) use common::ServerCommon;
pub(crate) use item_memory::ItemMemory;
pub(crate) use live::{LiveRounds, LiveSeat};
pub(crate) use model_facts::{ModelFacts, ModelSummary};
pub(crate) use model_text::ModelText;
pub(crate) use request_numbers::RequestNumbers;
pub(crate) use slot_texts::SlotTexts;

use audit_trail::AuditTrail;

use crate::admission::Admission;
use crate::caller::keys::Keyring;
use crate::clock::RequestDeadline;
use crate::config::ServerConfig;
use crate::metrics::{Levels, Metrics};
use crate::rollout::Rollout;
use crate::served::ServedModel;
use crate::text::Embedder;

/// What all requests to a model share.
pub(crate) struct App {
    /// Generates.
    pub(crate) engine: Arc<Engine>,
    /// What clients hear of the model.
    pub(crate) model: ModelFacts,
    /// Turns text into tokens and tokens into text.
    pub(crate) text: ModelText,
    /// Makes vectors of texts, where the server does that in place of writing.
    pub(crate) embedder: Option<Arc<dyn Embedder>>,
    /// Who may ask, if not everybody may.
    pub(crate) keys: Arc<Keyring>,
    /// Bounds what requests to this model hold, and those that wait until it is loaded.
    pub(crate) admission: Arc<Admission>,
    /// What is counted of this model.
    pub(crate) metrics: Arc<Metrics>,
    /// Says which requests speculate.
    pub(crate) rollout: Rollout,
    pub(crate) audit: Arc<AuditTrail>,
    /// Rounds for whoever looks at the page.
    pub(crate) live: Arc<LiveRounds>,
    /// Items of earlier answers of `/v1/responses`, at whatever path it was asked for.
    pub(crate) remembered: Arc<ItemMemory>,
    /// What slots hold, for llama-server's clients.
    pub(crate) slots: Arc<SlotTexts>,
    /// Names and seeds of requests.
    pub(crate) numbers: Arc<RequestNumbers>,
    /// The settings of the server, sampling as this model recommends it.
    pub(crate) config: ServerConfig,
    common: ServerCommon,
}

impl App {
    /// What requests to this model share, beside what they share with those to other models. The
    /// line in which they stand is there before the model is loaded.
    pub(crate) fn new(
        served: ServedModel,
        common: &ServerCommon,
        config: &ServerConfig,
        admission: Arc<Admission>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let fingerprint = format!(
            "card-{}-{:08x}",
            env!("CARGO_PKG_VERSION"),
            served.tokenizer.fingerprint() as u32
        );
        let mut config = config.clone();
        if let Some(sampling) = served.sampling {
            config.sampling = sampling;
        }
        if let Some(file) = served.file {
            config.llama_server.model_path = file;
        }
        App {
            engine: served.engine,
            model: ModelFacts {
                name: served.name,
                context: served.context,
                note: served.note,
                exactness: served.exactness,
                drafter: served.drafter,
                fingerprint,
            },
            text: ModelText::new(served.tokenizer, served.template),
            embedder: served.embedder,
            keys: common.keys.clone(),
            admission,
            audit: common.audit.clone(),
            rollout: Rollout::new(config.canary, metrics.rollout.clone()),
            metrics,
            live: common.live.clone(),
            remembered: common.remembered.clone(),
            slots: Arc::default(),
            numbers: common.numbers.clone(),
            config,
            common: common.clone(),
        }
    }

    /// What is known of the model.
    pub(crate) fn summary(&self) -> ModelSummary {
        ModelSummary::of(&self.model, &self.text, self.embedder.is_some())
    }

    /// When a request that came at `came` has to be answered.
    pub(crate) fn deadline(&self, came: Instant) -> RequestDeadline {
        RequestDeadline::new(came, self.config.request_timeout)
    }

    /// What this model and its engine are doing now.
    pub(crate) fn levels(&self) -> Levels {
        Levels {
            running: self.admission.running(),
            waiting: self.admission.waiting(),
            lanes: self.engine.lane_times(),
        }
    }

    /// Whether the server ends, so that it takes no more requests.
    pub(crate) fn is_draining(&self) -> bool {
        self.common.is_draining()
    }

    /// Why the engine can serve no more, if it cannot.
    pub(crate) fn dead(&self) -> Option<String> {
        self.engine.health().trouble()
    }

    /// Whether a client may hear how much of its prompt had been read before. Where caches
    /// are shared between keys, that would tell what others sent.
    pub(crate) fn tells_cached(&self) -> bool {
        self.keys.is_empty() || !self.config.share_caches
    }

    /// Text for the audit log; `None` if the log may not have text.
    pub(crate) fn audited_text(&self, tokens: &[Token]) -> Option<String> {
        self.audit.has_text().then(|| self.text.shown(tokens))
    }
}
