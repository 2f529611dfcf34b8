//! What all requests of a server share, whatever their model.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use card_api::ApiError;
use tokio::sync::watch;

use super::audit_trail::AuditTrail;
use super::item_memory::ItemMemory;
use super::live::LiveRounds;
use super::request_numbers::RequestNumbers;
use crate::caller::Caller;
use crate::caller::keys::Keyring;
use crate::config::ServerConfig;
use crate::error::ServeError;
use crate::metrics::ServerMetrics;

/// What all requests of a server share, whatever their model. A clone is the same.
#[derive(Clone)]
pub(crate) struct ServerCommon {
    /// Who may ask, if not everybody may.
    pub(crate) keys: Arc<Keyring>,
    pub(crate) audit: Arc<AuditTrail>,
    /// Rounds for whoever looks at the page.
    pub(crate) live: Arc<LiveRounds>,
    /// Items of earlier answers of `/v1/responses`, at whatever path it was asked for.
    pub(crate) remembered: Arc<ItemMemory>,
    /// Names and seeds of requests.
    pub(crate) numbers: Arc<RequestNumbers>,
    /// Becomes true when the server ends, and takes no more requests.
    pub(crate) draining: watch::Sender<bool>,
    /// Whether the server was told to end. It may still take requests for a while.
    leaving: Arc<AtomicBool>,
}

impl ServerCommon {
    /// What the requests of a server with these settings share.
    ///
    /// # Errors
    /// If the audit log cannot be opened.
    pub(crate) fn new(config: &ServerConfig, metrics: &ServerMetrics) -> Result<Self, ServeError> {
        let keys = Keyring::new(&config.keys, &config.tenant_secret, config.share_caches);
        let audit = AuditTrail::open(config.audit.clone(), metrics.audit_lost.clone())?;
        Ok(ServerCommon {
            keys: Arc::new(keys),
            audit: Arc::new(audit),
            live: Arc::new(LiveRounds::new()),
            remembered: Arc::new(ItemMemory::new()),
            numbers: Arc::new(RequestNumbers::new()),
            draining: watch::Sender::new(false),
            leaving: Arc::new(AtomicBool::new(false)),
        })
    }

    /// A request was refused before it reached a model: that is written down under a name of its
    /// own.
    pub(crate) fn refused(&self, caller: &Caller, path: &str, error: &ApiError) {
        self.audit
            .refused(&self.numbers.name(), caller, path, error);
    }

    /// The server was told to end: `/health` says so from now on.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// Whether the server was told to end.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Whether the server ends, so that it takes no more requests.
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}
