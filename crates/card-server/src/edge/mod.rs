//! An endpoint on a small device: requests go on to a server in the cloud, with the name of
//! the drafter here, so that drafting happens on this device and verification there. The
//! text is the server's, whether or not the drafter is connected.

pub(crate) mod headers;
mod proxy;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;

use crate::connections::{ConnectionLimits, Connections};
use crate::error::ServeError;

pub use proxy::EdgeConfig;
use proxy::router;

/// Running answers get so long to finish when the endpoint is stopped.
const DRAIN: Duration = Duration::from_secs(30);
/// Bounds of connections.
const CONNECTIONS: ConnectionLimits = ConnectionLimits {
    most: 128,
    idle: Duration::from_secs(75),
    stalled: Duration::from_secs(60),
};

/// Passes requests on until `shutdown` comes. `drafting` says whether the drafter here is
/// connected; `ready` hears the address.
///
/// # Errors
/// If the address cannot be listened on, or a header cannot carry the key or the scope.
pub async fn edge(
    config: EdgeConfig,
    drafting: Arc<AtomicBool>,
    shutdown: impl Future<Output = ()> + Send + 'static,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let address = config.address;
    let listen = |source| ServeError::Listen { address, source };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let router = router(config, drafting)?;
    let (end, ends) = watch::channel(false);
    ready(address);
    let connections = Connections::new(CONNECTIONS);
    let serving = connections.serve(listener, None, router, ends, DRAIN);
    let stopping = async {
        shutdown.await;
        end.send_replace(true);
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = serving => {}
        () = stopping => {}
    }
    Ok(())
}
