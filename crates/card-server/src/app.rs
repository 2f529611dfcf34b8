//! What all requests share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use card_audit::{Audit, AuditConfig};
use card_core::types::Token;
use card_engine::Engine;
use card_llama::{ChatTemplate, Vocab};
use tokio::sync::{broadcast, watch};

use crate::grammar::Grammars;
use crate::metrics::{Levels, Metrics};
use crate::queue::Queue;

/// What is served.
pub struct Served {
    /// The engine that runs it; it has to trace.
    pub engine: Arc<Engine>,
    /// Its vocabulary.
    pub vocab: Vocab,
    /// Its chat template, if it has one.
    pub template: Option<ChatTemplate>,
    /// Name in `/v1/models` and in answers.
    pub name: String,
    /// Tokens a sequence may have.
    pub context: u32,
    /// What it runs on, for the page: emulated devices are said to be so.
    pub note: Option<String>,
}

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 for a free one.
    pub port: u16,
    /// Keys that clients may use; none for no check.
    pub keys: Vec<String>,
    /// Certificate chain and private key (PEM); `None` for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Web pages of these origins may use the server; `*` for all.
    pub cors: Vec<String>,
    /// Generations at a time.
    pub parallel: usize,
    /// Requests that may wait for a slot.
    pub queue: usize,
    /// Most time for a request, waiting included.
    pub request_timeout: Duration,
    /// Largest body of a request.
    pub max_request_bytes: usize,
    /// At the end, how long to let generations finish.
    pub drain_timeout: Duration,
    /// Share of requests that speculate, the others being plain; `None` for all.
    pub canary: Option<f64>,
    /// Whether `/` shows the page.
    pub page: bool,
    /// The audit log, if there shall be one.
    pub audit: Option<AuditConfig>,
}

/// What all requests share.
pub struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) vocab: Vocab,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) name: String,
    pub(crate) context: u32,
    pub(crate) note: Option<String>,
    pub(crate) end_tokens: Vec<Token>,
    pub(crate) fingerprint: String,
    pub(crate) grammars: Grammars,
    pub(crate) queue: Queue,
    pub(crate) metrics: Metrics,
    pub(crate) audit: Option<Audit>,
    /// Rounds as JSON, for whoever looks at the page.
    pub(crate) live: broadcast::Sender<Arc<String>>,
    pub(crate) config: ServerConfig,
    /// Becomes true when the server ends.
    pub(crate) draining: watch::Sender<bool>,
    started: Instant,
    requests: AtomicU64,
}

impl App {
    pub(crate) fn new(served: Served, config: ServerConfig) -> Result<Self, crate::ServeError> {
        let metrics = Metrics::new(config.canary)?;
        let lost = metrics.audit_lost.clone();
        let open = |log: AuditConfig| Audit::open(log, move || lost.inc());
        let audit = config.audit.clone().map(open).transpose()?;
        let (live, _) = broadcast::channel(256);
        Ok(App {
            end_tokens: served.vocab.end_tokens(),
            fingerprint: format!(
                "card-{}-{:08x}",
                env!("CARGO_PKG_VERSION"),
                served.vocab.fingerprint() as u32
            ),
            grammars: Grammars::new(served.vocab.clone()),
            queue: Queue::new(config.parallel.max(1), config.queue),
            metrics,
            audit,
            live,
            engine: served.engine,
            vocab: served.vocab,
            template: served.template,
            name: served.name,
            context: served.context,
            note: served.note,
            draining: watch::Sender::new(false),
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

    pub(crate) fn levels(&self) -> Levels {
        Levels {
            running: self.queue.running(),
            waiting: self.queue.waiting(),
            lanes: self.engine.lane_times(),
            uptime_s: self.started.elapsed().as_secs_f64(),
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    pub(crate) fn audits_text(&self) -> bool {
        self.audit.as_ref().is_some_and(|a| a.text)
    }

    /// A token as people see it.
    pub(crate) fn shown(&self, token: Token) -> String {
        String::from_utf8_lossy(&self.vocab.piece(token, true)).into_owned()
    }

    /// Text for the audit log, if it may have any.
    pub(crate) fn audited_text(&self, tokens: &[Token]) -> Option<String> {
        let bytes = || tokens.iter().flat_map(|&t| self.vocab.piece(t, true));
        let text = || String::from_utf8_lossy(&bytes().collect::<Vec<u8>>()).into_owned();
        self.audits_text().then(text)
    }
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}
