//! A side that listens: bounded connections, none of which is held for nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::connection::LinkConnection;
use crate::error::LinkError;
use crate::limits::{KEEPALIVE, KEEPALIVE_TIMEOUT, PATIENCE};
use crate::security::ServerSecurity;

/// Connections at a time. More wait to be accepted.
pub(crate) const CONNECTIONS: usize = 256;
/// Streams of one connection; a link is one.
const STREAMS: u32 = 4;
/// Bytes of all headers of one request.
const HEADERS: u32 = 16 << 10;
/// Requests that a client may take back before they were looked at.
const RESETS: usize = 16;

/// Connections as they come.
pub(crate) type IncomingConnections = ReceiverStream<io::Result<LinkConnection>>;

/// Listens at an address. Says which, if the port was left open.
pub(crate) async fn listen(
    address: SocketAddr,
    security: &ServerSecurity,
) -> Result<(IncomingConnections, SocketAddr), LinkError> {
    security.check(address)?;
    let fail = |e: io::Error| LinkError::Transport(format!("cannot listen on {address}: {e}"));
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((incoming(listener, CONNECTIONS, PATIENCE), address))
}

/// Accepts up to `most` connections at a time. One without a link for `patience` is closed.
fn incoming(listener: TcpListener, most: usize, patience: Duration) -> IncomingConnections {
    /// Before accepting again after an error, such as too many open files.
    const PAUSE: Duration = Duration::from_millis(100);
    let (sender, receiver) = mpsc::channel(1);
    let places = Arc::new(Semaphore::new(most));
    tokio::spawn(async move {
        loop {
            let accept = async {
                // The semaphore is never closed.
                let place = places.clone().acquire_owned().await.ok()?;
                Some((place, listener.accept().await))
            };
            let accepted = tokio::select! {
                () = sender.closed() => return,
                accepted = accept => accepted,
            };
            match accepted {
                Some((place, Ok((stream, address)))) => {
                    // A commit is small and shall not wait for the next one.
                    let _ = stream.set_nodelay(true);
                    let connection = LinkConnection::new(stream, address, patience, place);
                    if sender.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Some((_, Err(error))) => {
                    tracing::debug!("a connection was not accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                None => return,
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A server with the limits of a link.
pub(crate) fn server(security: &ServerSecurity) -> Result<Server, LinkError> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS)
        .max_frame_size(16 << 10)
        .http2_max_header_list_size(HEADERS)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_local_error_reset_streams(Some(RESETS));
    if let Some(tls) = security.tls() {
        let bad = |e: tonic::transport::Error| match LinkError::from(e) {
            LinkError::Transport(why) => LinkError::Settings(format!(
                "the certificates cannot be used: {why}; --link-cert, --link-key and --link-ca are PEM files"
            )),
            other => other,
        };
        server = server.tls_config(tls).map_err(bad)?;
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio_stream::StreamExt;
    use tonic::transport::server::Connected;

    use super::*;

    #[test]
    fn connections_beyond_the_limit_wait_until_one_ends() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut incoming = incoming(listener, 2, Duration::from_secs(60));
            let mut clients = Vec::new();
            for _ in 0..4 {
                clients.push(TcpStream::connect(address).await.unwrap());
            }
            let one = incoming.next().await.unwrap().unwrap();
            let _two = incoming.next().await.unwrap().unwrap();
            let short = Duration::from_millis(50);
            let third = tokio::time::timeout(short, incoming.next()).await;
            assert!(third.is_err(), "a third connection was accepted");
            drop(one);
            assert!(incoming.next().await.unwrap().is_ok());
        });
    }

    #[test]
    fn a_connection_that_asks_for_nothing_is_closed() {
        use tokio::io::AsyncReadExt;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let patience = Duration::from_millis(80);
            let mut incoming = incoming(listener, 2, patience);
            let _silent = TcpStream::connect(address).await.unwrap();
            let mut connection = incoming.next().await.unwrap().unwrap();
            let peer = connection.connect_info();
            let working = peer.work();
            let mut byte = [0];
            let used = tokio::time::timeout(4 * patience, connection.read(&mut byte)).await;
            assert!(used.is_err(), "a connection with a link was closed");
            drop(working);
            let limit = Duration::from_secs(30);
            let idle = tokio::time::timeout(limit, connection.read(&mut byte)).await;
            assert_eq!(idle.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }
}
