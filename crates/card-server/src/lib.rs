//! An OpenAI-compatible server in front of the CARD engine.
//!
//! A request becomes one generation per choice. Each waits in a bounded line for a slot,
//! runs in the engine's common batch, and is followed by a thread of its own that turns
//! tokens into text; everything else is asynchronous. docs/serving.md is for users.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod answer;
mod app;
pub mod edge;
pub mod explain;
mod generation;
mod grammar;
mod guard;
mod metrics;
mod queue;
mod rollout;
mod routes;
mod watch;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use card_core::engine::Memory;

use app::App;
pub use app::{Served, ServerConfig};

/// The header by which a request names the drafter that is for it.
pub const DRAFTER_HEADER: &str = "x-card-drafter";

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
    /// The certificate or key cannot be used.
    #[error("TLS: {0}; --tls-cert and --tls-key are PEM files")]
    Tls(std::io::Error),
    /// The server broke down.
    #[error("the server failed: {0}")]
    Io(#[from] std::io::Error),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] card_audit::AuditError),
    /// A metric cannot be.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// An origin of `--cors` is none.
    #[error("{0:?} is no origin, like https://example.org or *")]
    Origin(String),
}

/// Serves until `shutdown` comes, then lets running generations finish. `ready` hears the
/// address. `learned` is given what the engine learned, now and then and at the end.
///
/// # Errors
/// If the address, the certificate or the audit log cannot be used.
pub async fn serve(
    served: Served,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
    learned: impl Fn(&Memory) + Send + Sync + 'static,
) -> Result<(), ServeError> {
    /// How often what was learned is kept.
    const KEEP: Duration = Duration::from_secs(300);
    /// A client that connects and says nothing is not waited for longer.
    const PATIENCE: Duration = Duration::from_secs(60);
    let address = SocketAddr::new(config.host, config.port);
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let tls = match &config.tls {
        Some((cert, key)) => {
            let loaded = RustlsConfig::from_pem_file(cert, key).await;
            Some(loaded.map_err(ServeError::Tls)?)
        }
        None => None,
    };
    let drain = config.drain_timeout;
    let app = Arc::new(App::new(served, config)?);
    let router = routes::router(app.clone())?.into_make_service();
    let handle = Handle::new();
    let server = async {
        match tls {
            Some(tls) => {
                let server = axum_server::from_tcp_rustls(listener, tls)?;
                let server = server.first_request_timeout(PATIENCE);
                server.handle(handle.clone()).serve(router).await
            }
            None => {
                let server = axum_server::from_tcp(listener)?;
                let server = server.first_request_timeout(PATIENCE);
                server.handle(handle.clone()).serve(router).await
            }
        }
    };
    ready(address);
    let keep = |app: &App| {
        if let Ok(memory) = app.engine.memory() {
            learned(&memory);
        }
    };
    let end = async {
        shutdown.await;
        app.draining.send_replace(true);
        handle.graceful_shutdown(Some(drain));
        std::future::pending::<()>().await
    };
    let keeping = async {
        let mut every = tokio::time::interval(KEEP);
        every.tick().await;
        loop {
            every.tick().await;
            tokio::task::block_in_place(|| keep(&app));
        }
    };
    tokio::select! {
        done = server => done?,
        () = end => {}
        () = keeping => {}
    }
    tokio::task::block_in_place(|| keep(&app));
    Ok(())
}
