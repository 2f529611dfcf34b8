//! What is counted of a server, whatever its models.

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Registry};

use super::registrar::Registrar;

/// What a server is doing, at the moment somebody asks.
pub(crate) struct ServerLevels {
    /// Connections that are open.
    pub(crate) connections: usize,
    /// Models that are loaded.
    pub(crate) models: usize,
    /// Seconds since the start.
    pub(crate) uptime_s: f64,
}

/// Metrics of a server, whatever its models.
pub(crate) struct ServerMetrics {
    registry: Registry,
    /// Requests by path and status.
    pub(crate) requests: IntCounterVec,
    /// Audit records that could not be written.
    pub(crate) audit_lost: IntCounter,
    connections: IntGauge,
    models: IntGauge,
    uptime: Gauge,
}

impl ServerMetrics {
    /// None counted yet.
    ///
    /// # Errors
    /// If two have the same name, which tests would show.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = Registrar(&registry);
        Ok(ServerMetrics {
            requests: r.count_by(
                "card_requests_total",
                "Requests by path and status",
                &["path", "status"],
            )?,
            audit_lost: r.count(
                "card_audit_lost_total",
                "Audit records that could not be written",
            )?,
            connections: r.level("card_connections", "Connections that are open")?,
            models: r.level("card_models_loaded", "Models that are loaded")?,
            uptime: r.gauge("card_uptime_seconds", "Since the server started")?,
            registry,
        })
    }

    /// Takes over what the server is doing now.
    pub(crate) fn take_over(&self, levels: &ServerLevels) {
        self.connections.set(levels.connections as i64);
        self.models.set(levels.models as i64);
        self.uptime.set(levels.uptime_s);
    }

    /// All of them, as they are now.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
