//! What all requests share.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::response::Exactness;
use card_audit::{Audit, AuditConfig, now_ms};
use card_core::types::Token;
use card_engine::Engine;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, broadcast, watch};

use crate::admission::{Admission, Deadline};
use crate::caller::{Caller, Key, Keyring};
use crate::connections::{ConnectionLimits, Connections};
use crate::grammar::Grammars;
use crate::metrics::{Levels, Metrics};
use crate::text::{ControlNames, Template, Tokenizer};

/// Pages that may look at rounds at a time.
const MOST_WATCHERS: usize = 32;

/// What is served.
pub struct Served {
    /// The engine that runs it; it has to trace.
    pub engine: Arc<Engine>,
    /// Its vocabulary.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// Its chat template, if it has one.
    pub template: Option<Arc<dyn Template>>,
    /// Name in `/v1/models` and in answers.
    pub name: String,
    /// Tokens a sequence may have.
    pub context: u32,
    /// What it runs on, for the page: emulated devices are said to be so.
    pub note: Option<String>,
    /// How close its text is to plain decoding's.
    pub exactness: Exactness,
}

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 for a free one.
    pub port: u16,
    /// Keys that clients may use; none for no check.
    pub keys: Vec<Key>,
    /// A key that opens `/metrics` and nothing else.
    pub metrics_key: Option<String>,
    /// Names by which a server without keys on loopback may be reached, beside localhost.
    pub allow_hosts: Vec<String>,
    /// Whether all keys use the same prefix cache and the same corrections.
    pub share_caches: bool,
    /// Known to this server only: without it nobody can work out where in a table that all
    /// use what a key's requests left is found.
    pub tenant_secret: [u8; 32],
    /// Certificate chain and private key (PEM); `None` for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Web pages of these origins may use the server; `*` for all.
    pub cors: Vec<String>,
    /// Generations at a time.
    pub parallel: usize,
    /// Requests that may wait beside those.
    pub queue: usize,
    /// Most time for a request, from its first byte to the last of its answer.
    pub request_timeout: Duration,
    /// Most time for the body of a request to arrive.
    pub body_timeout: Duration,
    /// Largest body of a request.
    pub max_request_bytes: usize,
    /// Bounds of connections.
    pub connections: ConnectionLimits,
    /// At the end, how long to let generations finish.
    pub drain_timeout: Duration,
    /// Share of requests that speculate, the others being plain; `None` for all.
    pub canary: Option<f64>,
    /// Whether `/` shows the page.
    pub page: bool,
    /// The audit log, if there shall be one.
    pub audit: Option<AuditConfig>,
}

impl Default for ServerConfig {
    /// Loopback, a free port, no keys.
    fn default() -> Self {
        ServerConfig {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 0,
            keys: Vec::new(),
            metrics_key: None,
            allow_hosts: Vec::new(),
            share_caches: false,
            tenant_secret: [0; 32],
            tls: None,
            cors: Vec::new(),
            parallel: 4,
            queue: 64,
            request_timeout: Duration::from_secs(600),
            body_timeout: Duration::from_secs(30),
            max_request_bytes: 4 << 20,
            connections: ConnectionLimits::default(),
            drain_timeout: Duration::from_secs(30),
            canary: None,
            page: true,
            audit: None,
        }
    }
}

/// What all requests share.
pub struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
    pub(crate) template: Option<Arc<dyn Template>>,
    pub(crate) name: String,
    pub(crate) context: u32,
    pub(crate) note: Option<String>,
    pub(crate) exactness: Exactness,
    pub(crate) end_tokens: Vec<Token>,
    pub(crate) control_names: ControlNames,
    pub(crate) fingerprint: String,
    pub(crate) grammars: Grammars,
    pub(crate) keys: Keyring,
    pub(crate) admission: Admission,
    pub(crate) metrics: Metrics,
    pub(crate) audit: Option<Audit>,
    /// Requests of nobody that is known, refused by the guard.
    pub(crate) strangers: Strangers,
    /// Rounds as JSON, for whoever looks at the page, and whose they are.
    pub(crate) live: broadcast::Sender<Shown>,
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) config: ServerConfig,
    /// Becomes true when the server ends.
    pub(crate) draining: watch::Sender<bool>,
    connections: Arc<Connections>,
    started: Instant,
    requests: AtomicU64,
}

/// What the page shows of a request, to its owner only.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) owner: Arc<str>,
    pub(crate) text: Arc<str>,
}

impl App {
    pub(crate) fn new(
        served: Served,
        config: ServerConfig,
        connections: Arc<Connections>,
    ) -> Result<Self, crate::ServeError> {
        let metrics = Metrics::new(config.canary)?;
        let lost = metrics.audit_lost.clone();
        let open = |log: AuditConfig| Audit::open(log, move || lost.inc());
        let audit = config.audit.clone().map(open).transpose()?;
        let (live, _) = broadcast::channel(256);
        Ok(App {
            end_tokens: served.tokenizer.end_tokens(),
            control_names: ControlNames::new(served.tokenizer.control_texts()),
            fingerprint: format!(
                "card-{}-{:08x}",
                env!("CARGO_PKG_VERSION"),
                served.tokenizer.fingerprint() as u32
            ),
            grammars: Grammars::new(served.tokenizer.clone()),
            keys: Keyring::new(&config.keys, &config.tenant_secret, config.share_caches),
            admission: Admission::new(
                config.parallel,
                config.queue,
                config.max_request_bytes,
                config.body_timeout,
            ),
            metrics,
            audit,
            strangers: Strangers::default(),
            live,
            watchers: Arc::new(Semaphore::new(MOST_WATCHERS)),
            engine: served.engine,
            tokenizer: served.tokenizer,
            template: served.template,
            name: served.name,
            context: served.context,
            note: served.note,
            exactness: served.exactness,
            draining: watch::Sender::new(false),
            connections,
            started: Instant::now(),
            // Names differ between runs, so that logs of several can be searched together.
            requests: AtomicU64::new(seconds().wrapping_mul(1 << 20)),
            config,
        })
    }

    /// A new name for a request.
    pub(crate) fn request_id(&self) -> String {
        format!("{:x}", self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// A seed for a client that gave none.
    pub(crate) fn fresh_seed(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |d| d.as_nanos() as u64);
        now ^ self
            .requests
            .fetch_add(1, Ordering::Relaxed)
            .rotate_left(32)
    }

    /// When a request that came then has to be answered.
    pub(crate) fn deadline(&self, came: Instant) -> Deadline {
        Deadline::new(came, self.config.request_timeout)
    }

    pub(crate) fn levels(&self) -> Levels {
        Levels {
            running: self.admission.running(),
            waiting: self.admission.waiting(),
            connections: self.connections.count(),
            lanes: self.engine.lane_times(),
            uptime_s: self.started.elapsed().as_secs_f64(),
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Why the engine can serve no more, if it cannot.
    pub(crate) fn dead(&self) -> Option<String> {
        self.engine.health().trouble()
    }

    pub(crate) fn audits_text(&self) -> bool {
        self.audit.as_ref().is_some_and(|a| a.text)
    }

    /// Whether a client may hear how much of its prompt had been read before. Where caches
    /// are shared between keys, that would tell what others sent.
    pub(crate) fn tells_cached(&self) -> bool {
        self.keys.is_empty() || !self.config.share_caches
    }

    /// A token as people see it.
    pub(crate) fn shown(&self, token: Token) -> String {
        String::from_utf8_lossy(&self.tokenizer.piece(token, true)).into_owned()
    }

    /// Text for the audit log, if it may have any.
    pub(crate) fn audited_text(&self, tokens: &[Token]) -> Option<String> {
        let bytes = || tokens.iter().flat_map(|&t| self.tokenizer.piece(t, true));
        let text = || String::from_utf8_lossy(&bytes().collect::<Vec<u8>>()).into_owned();
        self.audits_text().then(text)
    }

    /// Adds a record to the audit log, if there is one.
    pub(crate) fn log(&self, record: impl FnOnce() -> Value) {
        if let Some(audit) = &self.audit
            && !audit.add(record())
        {
            self.metrics.audit_lost.inc();
        }
    }

    /// A request was refused before it ran.
    fn refused(&self, request: &str, caller: &Caller, path: &str, error: &ApiError) {
        self.log(|| {
            json!({
                "kind": "refused",
                "request": request,
                "time": now_ms(),
                "who": &*caller.name,
                "peer": caller.address(),
                "path": path,
                "status": error.status.as_u16(),
                "reason": error.message(),
            })
        });
    }

    /// Answers a request that is refused: writes it down, and hears the rest of its body out.
    pub(crate) async fn refuse(
        &self,
        request: &str,
        caller: &Caller,
        path: &str,
        body: Option<Body>,
        error: ApiError,
    ) -> Response {
        self.refused(request, caller, path, &error);
        if let Some(body) = body {
            self.admission.discard(body).await;
        }
        error.into_response()
    }

    /// Whether the model has a token that a field of a request names.
    pub(crate) fn check_token(&self, field: &str, token: Token) -> Result<(), ApiError> {
        if (token as usize) < self.tokenizer.len() {
            return Ok(());
        }
        let why = format!("token {token} is not in the model's vocabulary");
        Err(ApiError::field(field, why))
    }

    /// Writes down what strangers were refused since the last time.
    pub(crate) fn log_strangers(&self) {
        if let Some(refused) = self.strangers.take() {
            self.log(|| {
                json!({
                    "kind": "refused",
                    "time": now_ms(),
                    "who": null,
                    "count": refused.values().sum::<u64>(),
                    "statuses": refused,
                })
            });
        }
    }
}

/// Counts requests that the guard refused. They are written down together, now and then:
/// who may not ask may not fill the disk either.
#[derive(Default)]
pub(crate) struct Strangers(Mutex<BTreeMap<u16, u64>>);

impl Strangers {
    pub(crate) fn note(&self, status: u16) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(status).or_default() += 1;
    }

    fn take(&self) -> Option<BTreeMap<u16, u64>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!counts.is_empty()).then(|| std::mem::take(&mut *counts))
    }
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}
