//! The audit log of a server, if it keeps one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use card_api::ApiError;
use card_audit::{Audit, AuditConfig, AuditError, now_ms};
use prometheus::IntCounter;
use serde_json::{Value, json};

use crate::caller::Caller;

/// The audit log, and what waits to be written in it.
pub(crate) struct AuditTrail {
    log: Option<Audit>,
    /// Counts records that could not be written.
    lost: IntCounter,
    /// Requests that the guard refused since the last record of them, by status. They are
    /// written down together, now and then: who may not ask may not fill the disk either.
    strangers: Mutex<BTreeMap<u16, u64>>,
}

impl AuditTrail {
    /// Opens the log, if there shall be one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn open(config: Option<AuditConfig>, lost: IntCounter) -> Result<Self, AuditError> {
        let open = |config: AuditConfig| {
            let lost = lost.clone();
            Audit::open(config, move || lost.inc())
        };
        Ok(AuditTrail {
            log: config.map(open).transpose()?,
            lost,
            strangers: Mutex::default(),
        })
    }

    /// Whether there is a log, and it may have text of prompts and answers.
    pub(crate) fn has_text(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.text)
    }

    /// Adds a record, if there is a log.
    pub(crate) fn add(&self, record: impl FnOnce() -> Value) {
        if let Some(log) = &self.log
            && !log.add(record())
        {
            self.lost.inc();
        }
    }

    /// A request was refused before it ran.
    pub(crate) fn refused(&self, request: &str, caller: &Caller, path: &str, error: &ApiError) {
        self.add(|| {
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

    /// The guard refused a request with this status.
    pub(crate) fn note_stranger(&self, status: u16) {
        let mut strangers = self
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *strangers.entry(status).or_default() += 1;
    }

    /// Writes down what the guard refused since the last time.
    pub(crate) fn add_strangers(&self) {
        let refused = {
            let mut strangers = self
                .strangers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *strangers)
        };
        if refused.is_empty() {
            return;
        }
        self.add(|| {
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
