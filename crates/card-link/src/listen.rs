//! A side that listens: bounded connections, none of which is held for nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TlsConnectInfo};

use crate::security::ServerSecurity;
use crate::{KEEPALIVE, KEEPALIVE_TIMEOUT, LinkError, PATIENCE};

/// Connections at a time. More wait to be accepted.
pub(crate) const CONNECTIONS: usize = 256;
/// Streams of one connection; a link is one.
const STREAMS: u32 = 4;
/// Bytes of all headers of one request.
const HEADERS: u32 = 16 << 10;
/// Requests that a client may take back before they were looked at.
const RESETS: usize = 16;

/// Connections as they come.
pub(crate) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Listens at an address. Says which, if the port was left open.
pub(crate) async fn listen(
    address: SocketAddr,
    security: &ServerSecurity,
) -> Result<(Incoming, SocketAddr), LinkError> {
    security.check(address)?;
    let fail = |e: io::Error| LinkError::Transport(format!("cannot listen on {address}: {e}"));
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    Ok((incoming(listener, CONNECTIONS, PATIENCE), address))
}

/// Accepts up to `most` connections at a time. One without a link for `patience` is closed.
fn incoming(listener: TcpListener, most: usize, patience: Duration) -> Incoming {
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
                    let connection = Connection::new(stream, address, patience, place);
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

/// One side of a connection that came, and whether it is used.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    usage: Arc<Mutex<Usage>>,
}

#[derive(Debug)]
struct Usage {
    links: usize,
    /// Since when it has had none.
    idle: Instant,
}

/// A link over a connection, which is not closed while it lives.
#[derive(Debug)]
pub(crate) struct Working(Peer);

impl Peer {
    fn new(address: SocketAddr, now: Instant) -> Self {
        Peer {
            address,
            usage: Arc::new(Mutex::new(Usage {
                links: 0,
                idle: now,
            })),
        }
    }

    /// A link begins.
    pub(crate) fn work(self) -> Working {
        self.with(|usage| usage.links += 1);
        Working(self)
    }

    /// For how long it has had no link.
    fn idle(&self, now: Instant) -> Duration {
        self.with(|usage| match usage.links {
            0 => now.saturating_duration_since(usage.idle),
            _ => Duration::ZERO,
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Usage) -> T) -> T {
        look(&mut self.usage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let now = Instant::now();
        self.0.with(|usage| {
            usage.links = usage.links.saturating_sub(1);
            usage.idle = now;
        });
    }
}

/// Who asks.
pub(crate) fn peer<T>(request: &Request<T>) -> Option<Peer> {
    let extensions = request.extensions();
    let secured = || extensions.get::<TlsConnectInfo<Peer>>();
    extensions
        .get::<Peer>()
        .or_else(|| secured().map(TlsConnectInfo::get_ref))
        .cloned()
}

/// The certificate that was shown (DER).
pub(crate) fn certificate<T>(request: &Request<T>) -> Option<Vec<u8>> {
    let info = request.extensions().get::<TlsConnectInfo<Peer>>()?;
    Some(info.peer_certs()?.first()?.to_vec())
}

/// A connection that came. It ends by itself when nobody uses it.
pub(crate) struct Connection {
    stream: TcpStream,
    peer: Peer,
    patience: Duration,
    look: Interval,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: TcpStream,
        address: SocketAddr,
        patience: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let mut look = tokio::time::interval(patience / 4);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Connection {
            stream,
            peer: Peer::new(address, Instant::now()),
            patience,
            look,
            _place: place,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Whoever waits for bytes is woken to look, too.
        while this.look.poll_tick(context).is_ready() {
            if this.peer.idle(Instant::now()) > this.patience {
                let why = "nothing was asked for";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    #[test]
    fn a_connection_is_idle_while_it_has_no_link() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let peer = Peer::new(SocketAddr::from(([127, 0, 0, 1], 1)), start);
        assert_eq!(peer.idle(start + second), second);
        let one = peer.clone().work();
        let two = peer.clone().work();
        drop(one);
        assert_eq!(peer.idle(start + 100 * second), Duration::ZERO);
        drop(two);
        assert!(peer.idle(Instant::now()) < second);
        assert!(peer.idle(Instant::now() + second) >= second);
    }

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
