//! What all requests of a server share.

mod audit_trail;
mod item_memory;
mod live;
mod model_text;
mod request_numbers;
mod slot_texts;

use std::sync::Arc;
use std::time::Instant;

use card_api::health::ExactnessAnswer;
use card_core::types::Token;
use card_engine::Engine;
use tokio::sync::watch;

pub(crate) use item_memory::ItemMemory;
pub(crate) use live::{LiveRounds, LiveSeat};
pub(crate) use model_text::ModelText;
pub(crate) use slot_texts::SlotTexts;

use audit_trail::AuditTrail;
use request_numbers::RequestNumbers;

use crate::admission::Admission;
use crate::caller::keys::Keyring;
use crate::clock::RequestDeadline;
use crate::config::ServerConfig;
use crate::connections::Connections;
use crate::error::ServeError;
use crate::metrics::{Levels, Metrics};
use crate::rollout::Rollout;
use crate::served::ServedModel;
use crate::text::Embedder;

/// What all requests share.
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
    pub(crate) keys: Keyring,
    /// Bounds what requests hold.
    pub(crate) admission: Admission,
    pub(crate) metrics: Metrics,
    /// Says which requests speculate.
    pub(crate) rollout: Rollout,
    pub(crate) audit: AuditTrail,
    /// Rounds for whoever looks at the page.
    pub(crate) live: LiveRounds,
    /// Items of earlier answers of `/v1/responses`, at whatever path it was asked for.
    pub(crate) remembered: Arc<ItemMemory>,
    /// What slots hold, for llama-server's clients.
    pub(crate) slots: Arc<SlotTexts>,
    /// Names and seeds of requests.
    pub(crate) numbers: RequestNumbers,
    pub(crate) config: ServerConfig,
    /// Becomes true when the server ends.
    pub(crate) draining: watch::Sender<bool>,
    connections: Arc<Connections>,
    started: Instant,
}

/// What clients hear of the model.
pub(crate) struct ModelFacts {
    /// The name in `/v1/models` and in answers.
    pub(crate) name: String,
    /// Tokens that a sequence may have.
    pub(crate) context: u32,
    /// What it runs on, if that is not what it seems.
    pub(crate) note: Option<String>,
    /// How close its text is to plain decoding's.
    pub(crate) exactness: ExactnessAnswer,
    /// Names the build of the server and the vocabulary, `system_fingerprint` in answers.
    pub(crate) fingerprint: String,
}

impl App {
    /// What requests to this model share.
    ///
    /// # Errors
    /// If the audit log cannot be opened.
    pub(crate) fn new(
        served: ServedModel,
        config: ServerConfig,
        connections: Arc<Connections>,
    ) -> Result<Self, ServeError> {
        let metrics = Metrics::new()?;
        let fingerprint = format!(
            "card-{}-{:08x}",
            env!("CARGO_PKG_VERSION"),
            served.tokenizer.fingerprint() as u32
        );
        Ok(App {
            engine: served.engine,
            model: ModelFacts {
                name: served.name,
                context: served.context,
                note: served.note,
                exactness: served.exactness,
                fingerprint,
            },
            text: ModelText::new(served.tokenizer, served.template),
            embedder: served.embedder,
            keys: Keyring::new(&config.keys, &config.tenant_secret, config.share_caches),
            admission: Admission::new(
                config.parallel,
                config.queue,
                config.max_request_bytes,
                config.body_timeout,
            ),
            audit: AuditTrail::open(config.audit.clone(), metrics.audit_lost.clone())?,
            rollout: Rollout::new(config.canary, metrics.rollout.clone()),
            metrics,
            live: LiveRounds::new(),
            remembered: Arc::new(ItemMemory::new()),
            slots: Arc::default(),
            numbers: RequestNumbers::new(),
            draining: watch::Sender::new(false),
            connections,
            started: Instant::now(),
            config,
        })
    }

    /// When a request that came at `came` has to be answered.
    pub(crate) fn deadline(&self, came: Instant) -> RequestDeadline {
        RequestDeadline::new(came, self.config.request_timeout)
    }

    /// What the server and its engine are doing now.
    pub(crate) fn levels(&self) -> Levels {
        Levels {
            running: self.admission.running(),
            waiting: self.admission.waiting(),
            connections: self.connections.count(),
            lanes: self.engine.lane_times(),
            uptime_s: self.started.elapsed().as_secs_f64(),
        }
    }

    /// Whether the server ends, so that it takes no more requests.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
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
