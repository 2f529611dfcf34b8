//! An OpenAI-compatible server in front of the CARD engine.
//!
//! A request is admitted by its head (admission.rs), read and prepared off the threads that
//! speak HTTP, and becomes one generation per choice. Each waits for a slot, runs in the
//! engine's common batch, and is followed by a thread of its own that turns tokens into
//! text. docs/serving.md is for users, docs/security.md says what is kept from whom.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admission;
mod answer;
mod app;
mod caller;
mod connections;
pub mod edge;
pub mod explain;
mod generation;
mod grammar;
mod guard;
mod metrics;
mod rollout;
mod routes;
#[doc(hidden)]
pub mod testing;
mod text;
mod watch;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use card_core::engine::Memory;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;

use app::App;
pub use app::{Served, ServerConfig};
pub use caller::Key;
pub use card_api::response::Exactness;
pub use connections::ConnectionLimits;
use connections::{Connections, raise_open_files};
pub use text::{Template, Tokenizer};

/// The header by which a request names the drafter that is for it.
pub const DRAFTER_HEADER: &str = "x-card-drafter";

/// How often what was learned is kept.
const KEEP: Duration = Duration::from_secs(300);
/// How often the engine is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How long the engine may take to say what it learned, at the end.
const LAST_KEEP: Duration = Duration::from_secs(5);
/// How long probes can see that the engine is dead before the server ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    Tls(String),
    /// The system gives no thread or no connection.
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
    /// The engine has ended, and with it what is served.
    #[error("the engine is dead: {0}")]
    Engine(String),
}

/// Serves until `shutdown` comes, then lets running generations finish. `ready` hears the
/// address. `learned` is given what the engine learned, now and then and at the end.
///
/// # Errors
/// If the address, the certificate or the audit log cannot be used; or the engine ends or
/// hangs, after which nothing more can be served: the process should end, so that what
/// supervises it starts it again.
pub async fn serve(
    served: Served,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
    learned: impl Fn(&Memory) + Send + Sync + 'static,
) -> Result<(), ServeError> {
    let address = SocketAddr::new(config.host, config.port);
    let listen = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(listen)?;
    let tls = config.tls.as_ref();
    let tls = tls.map(|(cert, key)| acceptor(cert, key)).transpose()?;
    raise_open_files(config.connections.most);
    let drain = config.drain_timeout;
    let connections = Connections::new(config.connections);
    let app = Arc::new(App::new(served, config, connections.clone())?);
    let router = routes::router(app.clone())?;
    let ends = app.draining.subscribe();
    let serving = tokio::spawn(connections.serve(listener, tls, router, ends, drain));
    ready(address);
    let learned = Arc::new(learned);
    // Apart from what watches the engine: an engine that hangs does not say what it learned.
    let keep = {
        let (app, learned) = (app.clone(), learned.clone());
        move || {
            let (app, learned) = (app.clone(), learned.clone());
            tokio::task::spawn_blocking(move || {
                if let Ok(memory) = app.engine.memory() {
                    learned(&memory);
                }
            })
        }
    };
    let keeping = {
        let keep = keep.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(KEEP);
            every.tick().await;
            loop {
                every.tick().await;
                let _ = keep().await;
            }
        })
    };
    let logging = {
        let app = app.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_secs(1));
            loop {
                every.tick().await;
                app.log_strangers();
            }
        })
    };
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        why = dead(&app) => Err(ServeError::Engine(why)),
    };
    let ended = match ended {
        Ok(()) => {
            app.draining.send_replace(true);
            // It may die while what runs is finished, too.
            tokio::select! {
                _ = serving => Ok(()),
                why = dead(&app) => Err(ServeError::Engine(why)),
            }
        }
        Err(error) => {
            tokio::time::sleep(LAST_WORDS).await;
            serving.abort();
            Err(error)
        }
    };
    keeping.abort();
    logging.abort();
    app.log_strangers();
    if ended.is_ok() {
        let _ = tokio::time::timeout(LAST_KEEP, keep()).await;
    }
    ended
}

/// Comes back when the engine can serve no more, and says why.
async fn dead(app: &App) -> String {
    let mut every = tokio::time::interval(LOOK);
    loop {
        every.tick().await;
        if let Some(why) = app.dead() {
            return why;
        }
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    // Another part of the program may have named one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let wrong = |file: &Path, why: String| ServeError::Tls(format!("{}: {why}", file.display()));
    let certs = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let certs: Vec<_> =
        certs.map_err(|e: rustls_pki_types::pem::Error| wrong(cert, e.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, e.to_string()))?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certs, private)
        .map_err(|e| wrong(cert, e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
