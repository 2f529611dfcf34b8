//! Accepts connections, shakes hands where they are encrypted, and speaks HTTP/1.1 on them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::busy::{Busy, BusyBody};
use super::first_byte::{FirstBytes, NotedStream};
use super::registry::{ConnectionEntry, Connections};
use crate::clock::LONGEST;

/// Most time for the hand-shake of a TLS connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 << 10;
/// Most header lines of a request.
const MOST_HEADERS: usize = 100;
/// Pause after accepting failed, as it does when there are no more files to open.
const NO_FILES: Duration = Duration::from_millis(50);

/// The address on the other side of the connection that a request came on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

impl Connections {
    /// Accepts connections until the end begins, then waits for those that are open, at most
    /// `drain`.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        router: Router,
        mut ends: watch::Receiver<bool>,
        drain: Duration,
    ) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ends.wait_for(|end| *end) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if lost(&error) => continue,
                Err(error) => {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    tokio::time::sleep(NO_FILES).await;
                    continue;
                }
            };
            // Beyond the limit it is closed at once, which costs no more than accepting it.
            let Some(entry) = self.admit(Instant::now()) else {
                continue;
            };
            let (tls, router, ends) = (tls.clone(), router.clone(), ends.clone());
            tokio::spawn(connection(stream, peer, entry, tls, router, ends));
        }
        drop(listener);
        let _ = tokio::time::timeout(drain.min(LONGEST), self.emptied()).await;
    }
}

/// The client was gone before it was accepted.
fn lost(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Serves one connection until it ends.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    entry: ConnectionEntry,
    tls: Option<TlsAcceptor>,
    router: Router,
    ends: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(entry.all.limits().stalled));
    match tls {
        Some(tls) => {
            let shaken = tokio::time::timeout(HANDSHAKE, tls.accept(Box::pin(stream)));
            let shaken = tokio::select! {
                shaken = shaken => shaken,
                () = entry.close.notified() => return,
            };
            match shaken {
                Ok(Ok(stream)) => speak(stream, peer, entry, router, ends).await,
                Ok(Err(error)) => tracing::debug!(%peer, "no TLS: {error}"),
                Err(_) => tracing::debug!(%peer, "the TLS hand-shake takes too long"),
            }
        }
        None => speak(Box::pin(stream), peer, entry, router, ends).await,
    }
}

/// Speaks HTTP/1.1 on a connection until the client leaves, the connection has to be closed, or the
/// server ends and the request on it is answered.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    entry: ConnectionEntry,
    router: Router,
    mut ends: watch::Receiver<bool>,
) {
    let entry = Arc::new(entry);
    let first_byte = FirstBytes::default();
    let stream = NotedStream::new(stream, first_byte.clone());
    let of = entry.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddress(peer));
        let busy = Arc::new(Busy::new(&of, first_byte.clone()));
        request.extensions_mut().insert(busy.clone());
        request.extensions_mut().insert(first_byte.take());
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await;
            response.map(|r| r.map(|body| Body::new(BusyBody::new(body, busy))))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(entry.all.limits().idle)
        .max_header_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        // Programs that look a header up by its name as llama-server and most others write it
        // find it; names count as the same in any letters (RFC 9110, 5.1).
        .title_case_headers(true)
        .keep_alive(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut ending = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%peer, "the connection ends: {error}");
                }
                return;
            }
            () = entry.close.notified() => {
                tracing::debug!(%peer, "closed: idle, or its answer is not taken");
                return;
            }
            _ = ends.wait_for(|end| *end), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
