//! A connection that came in, and whether anybody uses it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::Request;
use tonic::transport::server::{Connected, TlsConnectInfo};

/// The other side of a connection that came, and how many links use the connection.
#[derive(Clone, Debug)]
pub(crate) struct RemotePeer {
    /// The address it came from.
    pub(crate) address: SocketAddr,
    count: Arc<Mutex<LinkCount>>,
}

/// The links over one connection. Invariant: the connection may be closed for want of use only
/// while `links` is 0.
#[derive(Debug)]
struct LinkCount {
    /// The links over the connection.
    links: usize,
    /// The time at which the last link ended, or at which the connection came.
    idle_since: Instant,
}

/// A link over a connection, which is not closed while it lives.
#[derive(Debug)]
pub(crate) struct ActiveLink(RemotePeer);

impl RemotePeer {
    fn new(address: SocketAddr, now: Instant) -> Self {
        RemotePeer {
            address,
            count: Arc::new(Mutex::new(LinkCount {
                links: 0,
                idle_since: now,
            })),
        }
    }

    /// A link begins.
    pub(crate) fn work(self) -> ActiveLink {
        self.with(|count| count.links += 1);
        ActiveLink(self)
    }

    /// For how long the connection has had no link.
    fn idle(&self, now: Instant) -> Duration {
        self.with(|count| match count.links {
            0 => now.saturating_duration_since(count.idle_since),
            _ => Duration::ZERO,
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut LinkCount) -> T) -> T {
        look(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ActiveLink {
    fn drop(&mut self) {
        let now = Instant::now();
        self.0.with(|count| {
            count.links = count.links.saturating_sub(1);
            count.idle_since = now;
        });
    }
}

/// The side that sent a request.
pub(crate) fn peer<T>(request: &Request<T>) -> Option<RemotePeer> {
    let extensions = request.extensions();
    let secured = || extensions.get::<TlsConnectInfo<RemotePeer>>();
    extensions
        .get::<RemotePeer>()
        .or_else(|| secured().map(TlsConnectInfo::get_ref))
        .cloned()
}

/// The certificate that was shown with a request (DER).
pub(crate) fn certificate<T>(request: &Request<T>) -> Option<Vec<u8>> {
    let info = request.extensions().get::<TlsConnectInfo<RemotePeer>>()?;
    Some(info.peer_certs()?.first()?.to_vec())
}

/// A connection that came. It ends by itself when it has had no link for `patience`.
pub(crate) struct LinkConnection {
    stream: TcpStream,
    peer: RemotePeer,
    patience: Duration,
    /// Ticks at which it is looked whether the connection is used.
    look: Interval,
    /// The permit that bounds how many connections there are at a time.
    _place: OwnedSemaphorePermit,
}

impl LinkConnection {
    pub(crate) fn new(
        stream: TcpStream,
        address: SocketAddr,
        patience: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let mut look = tokio::time::interval(patience / 4);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        LinkConnection {
            stream,
            peer: RemotePeer::new(address, Instant::now()),
            patience,
            look,
            _place: place,
        }
    }
}

impl Connected for LinkConnection {
    type ConnectInfo = RemotePeer;

    fn connect_info(&self) -> RemotePeer {
        self.peer.clone()
    }
}

impl AsyncRead for LinkConnection {
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

impl AsyncWrite for LinkConnection {
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

    #[test]
    fn a_connection_is_idle_while_it_has_no_link() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let peer = RemotePeer::new(SocketAddr::from(([127, 0, 0, 1], 1)), start);
        assert_eq!(peer.idle(start + second), second);
        let one = peer.clone().work();
        let two = peer.clone().work();
        drop(one);
        assert_eq!(peer.idle(start + 100 * second), Duration::ZERO);
        drop(two);
        assert!(peer.idle(Instant::now()) < second);
        assert!(peer.idle(Instant::now() + second) >= second);
    }
}
