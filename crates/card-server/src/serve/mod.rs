//! The life of a server: it listens, serves, keeps what was learned, and ends.

mod tasks;
mod tls;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use card_core::scheduler::Learned;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::config::ServerConfig;
use crate::connections::{Connections, raise_open_files};
use crate::error::ServeError;
use crate::routes::router;
use crate::served::ServedModel;

use tasks::{Keeper, dead, keep_now_and_then, log_strangers};
use tls::acceptor;

/// How long the engine may take to say what it learned, at the end.
const LAST_KEEP: Duration = Duration::from_secs(5);
/// How long probes can see that the engine is dead before the server ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until `shutdown` comes, then lets running generations finish. `ready` hears the
/// address. `learned` is given what the engine learned, now and then and at the end.
///
/// # Errors
/// If the address, the certificate or the audit log cannot be used; or the engine ends or
/// hangs, after which nothing more can be served: the process should end, so that what
/// supervises it starts it again.
pub async fn serve(
    served: ServedModel,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
    learned: impl Fn(&Learned) + Send + Sync + 'static,
) -> Result<(), ServeError> {
    let address = SocketAddr::new(config.host, config.port);
    let (listener, address) = listen(address)?;
    let tls = config.tls.as_ref();
    let tls = tls.map(|(cert, key)| acceptor(cert, key)).transpose()?;
    raise_open_files(config.connections.most);
    let drain = config.drain_timeout;
    let connections = Connections::new(config.connections);
    let app = Arc::new(App::new(served, config, connections.clone())?);
    let router = router(app.clone())?;
    let ends = app.draining.subscribe();
    let serving = tokio::spawn(connections.serve(listener, tls, router, ends, drain));
    ready(address);
    let keeper = Keeper::new(app.clone(), learned);
    let keeping = tokio::spawn(keep_now_and_then(keeper.clone()));
    let logging = tokio::spawn(log_strangers(app.clone()));
    let ended = until_it_ends(&app, serving, shutdown).await;
    keeping.abort();
    logging.abort();
    app.audit.add_strangers();
    if ended.is_ok() {
        let _ = tokio::time::timeout(LAST_KEEP, keeper.keep()).await;
    }
    ended
}

/// Listens on an address; returns the one that the system gave.
fn listen(address: SocketAddr) -> Result<(tokio::net::TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let own = listener.local_addr().map_err(failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    Ok((listener, own))
}

/// Waits until the server has to end, and lets what runs finish: until `shutdown` comes, or the
/// engine dies, before or while generations finish.
async fn until_it_ends(
    app: &App,
    serving: JoinHandle<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let died = tokio::select! {
        () = shutdown => None,
        why = dead(app) => Some(why),
    };
    if let Some(why) = died {
        tokio::time::sleep(LAST_WORDS).await;
        serving.abort();
        return Err(ServeError::Engine(why));
    }
    app.draining.send_replace(true);
    tokio::select! {
        _ = serving => Ok(()),
        why = dead(app) => Err(ServeError::Engine(why)),
    }
}
