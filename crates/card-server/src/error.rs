//! Why a server cannot serve.

use std::net::SocketAddr;

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --host and --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no address to listen on.
    #[error("there is no address to listen on; name one with --host")]
    NoAddress,
    /// The certificate or key cannot be used.
    #[error("TLS: {0}; --tls-cert and --tls-key are PEM files")]
    Tls(String),
    /// The system gives no thread or no connection.
    #[error("the server failed: {0}")]
    Io(#[from] std::io::Error),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] card_audit::AuditError),
    /// A metric cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// An origin of `--cors` is none.
    #[error("{0:?} is no origin, like https://example.org or *")]
    Origin(String),
    /// The model that is loaded at the start cannot be.
    #[error("{0}")]
    Load(String),
    /// The engine has ended, and with it what is served.
    #[error("the engine is dead: {0}")]
    Engine(String),
}
