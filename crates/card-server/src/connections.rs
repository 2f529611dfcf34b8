//! Connections: accepted, bounded in number, and closed when they cost something without
//! asking for something.
//!
//! HTTP/1.1 only, with and without TLS. Nothing that people point at a model server needs
//! HTTP/2, and each of its streams would have to be bounded as a connection is.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::admission::LONGEST;

/// Most time for the hand-shake of a TLS connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes.
const LARGEST_HEAD: usize = 64 << 10;
/// Most header lines of a request.
const MOST_HEADERS: usize = 100;
/// Pause after accepting failed, as it does when there are no more files to open.
const NO_FILES: Duration = Duration::from_millis(50);

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections at a time. One more takes the place of the one that was idle longest.
    pub most: usize,
    /// A connection on which no request comes, or whose head takes longer, is closed.
    pub idle: Duration,
    /// One whose client takes nothing of an answer for so long is closed.
    pub stalled: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            most: 1024,
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(60),
        }
    }
}

/// Who is on the other side of the connection a request came on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// All connections of a server.
pub(crate) struct Connections {
    limits: ConnectionLimits,
    open: Mutex<BTreeMap<u64, Connection>>,
    next: AtomicU64,
    /// Somebody left.
    left: Notify,
}

struct Connection {
    /// Since when no request is on it; `None` while one is.
    idle: Option<Instant>,
    close: Arc<Notify>,
}

/// A connection's entry, taken back when it is dropped.
struct Entry {
    all: Arc<Connections>,
    id: u64,
    close: Arc<Notify>,
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        let limits = ConnectionLimits {
            most: limits.most.max(1),
            idle: limits.idle.min(LONGEST),
            stalled: limits.stalled.min(LONGEST),
        };
        Arc::new(Connections {
            limits,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            left: Notify::new(),
        })
    }

    /// Connections that are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry for one more. If there are too many, the one that is idle longest is closed
    /// for it; if none is idle, there is no entry.
    fn admit(self: &Arc<Self>, now: Instant) -> Option<Entry> {
        let mut open = self.lock();
        if open.len() >= self.limits.most {
            let idle = open.iter().filter_map(|(&id, c)| Some((c.idle?, id)));
            let (_, id) = idle.min()?;
            if let Some(longest) = open.remove(&id) {
                longest.close.notify_one();
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let close = Arc::new(Notify::new());
        let connection = Connection {
            idle: Some(now),
            close: close.clone(),
        };
        open.insert(id, connection);
        Some(Entry {
            all: self.clone(),
            id,
            close,
        })
    }

    fn set_idle(&self, id: u64, idle: Option<Instant>) {
        if let Some(connection) = self.lock().get_mut(&id) {
            connection.idle = idle;
        }
    }

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
        let gone = async {
            while self.count() > 0 {
                let left = self.left.notified();
                if self.count() > 0 {
                    left.await;
                }
            }
        };
        let _ = tokio::time::timeout(drain.min(LONGEST), gone).await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
        self.all.left.notify_waiters();
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

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    entry: Entry,
    tls: Option<TlsAcceptor>,
    router: Router,
    ends: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(entry.all.limits.stalled));
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

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    entry: Entry,
    router: Router,
    mut ends: watch::Receiver<bool>,
) {
    let (all, id, close) = (entry.all.clone(), entry.id, entry.close.clone());
    let first_byte = FirstBytes::default();
    let stream = Noted {
        inner: stream,
        first_byte: first_byte.clone(),
    };
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        // It is busy once the request was let in, until the body of its answer is done.
        let busy = Arc::new(Busy {
            all: all.clone(),
            id,
            close: close.clone(),
            first_byte: first_byte.clone(),
        });
        request.extensions_mut().insert(busy.clone());
        request.extensions_mut().insert(first_byte.take());
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await;
            response.map(|r| r.map(|body| Body::new(BusyBody { body, _busy: busy })))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(entry.all.limits.idle)
        .max_header_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
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

/// A request on a connection. Until it [begins](Busy::begin) the connection is idle, and may
/// have to make room for another.
pub(crate) struct Busy {
    all: Arc<Connections>,
    id: u64,
    close: Arc<Notify>,
    first_byte: FirstBytes,
}

impl Busy {
    /// Closes the connection.
    pub(crate) fn close(&self) {
        self.close.notify_one();
    }

    /// The request was let in.
    pub(crate) fn begin(&self) {
        self.all.set_idle(self.id, None);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.first_byte.wait();
        self.all.set_idle(self.id, Some(Instant::now()));
    }
}

struct BusyBody {
    body: Body,
    _busy: Arc<Busy>,
}

/// When the first byte of a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstByte(pub(crate) Instant);

/// Shared by a connection's stream, which sees bytes come, and its service, which takes the
/// time of the first one with each request.
#[derive(Clone, Default)]
struct FirstBytes(Arc<Mutex<Reading>>);

/// What the bytes that come belong to.
#[derive(Clone, Copy, Default)]
enum Reading {
    /// The next request; none of it has come.
    #[default]
    Nothing,
    /// The head of a request that began then.
    Head(Instant),
    /// The body of a request, or requests that are sent ahead.
    Request,
}

impl FirstBytes {
    fn lock(&self) -> std::sync::MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn came(&self) {
        let mut reading = self.lock();
        if let Reading::Nothing = *reading {
            *reading = Reading::Head(Instant::now());
        }
    }

    /// A head was read.
    fn take(&self) -> FirstByte {
        match std::mem::replace(&mut *self.lock(), Reading::Request) {
            Reading::Head(first) => FirstByte(first),
            Reading::Nothing | Reading::Request => FirstByte(Instant::now()),
        }
    }

    /// A request was answered.
    fn wait(&self) {
        *self.lock() = Reading::Nothing;
    }
}

/// A stream that notes when bytes come.
struct Noted<S> {
    inner: S,
    first_byte: FirstBytes,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.first_byte.came();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl hyper::body::Body for BusyBody {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// Lets this process open as many files as the system grants it: a connection is one. Many
/// systems give 1,024 where nobody asks.
pub(crate) fn raise_open_files(wanted: usize) {
    let wanted = wanted as u64 + 256;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted => tracing::warn!(
            "this system lets the server open {got} files, fewer than --max-connections needs"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!("the limit of open files cannot be raised: {error}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn connections(most: usize) -> Arc<Connections> {
        Connections::new(ConnectionLimits {
            most,
            ..ConnectionLimits::default()
        })
    }

    #[test]
    fn a_request_begins_with_its_own_first_byte() {
        let bytes = FirstBytes::default();
        bytes.came();
        let first = bytes.take().0;
        // Its body, which comes later, is not the next request.
        bytes.came();
        bytes.wait();
        let between = Instant::now();
        bytes.came();
        let second = bytes.take().0;
        assert!(first <= between && between <= second);
        // One that was sent ahead begins when it is read.
        bytes.came();
        assert!(second <= bytes.take().0);
    }

    #[test]
    fn the_one_idle_longest_makes_room_and_a_busy_one_does_not() {
        let all = connections(2);
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let first = all.admit(after(0)).unwrap();
        let second = all.admit(after(1)).unwrap();
        let busy = |entry: &Entry| {
            let busy = Busy {
                all: all.clone(),
                id: entry.id,
                close: entry.close.clone(),
                first_byte: FirstBytes::default(),
            };
            busy.begin();
            busy
        };
        let first_busy = busy(&first);
        let third = all.admit(after(2)).unwrap();
        assert_eq!(all.count(), 2);
        assert!(!all.lock().contains_key(&second.id));
        let third_busy = busy(&third);
        assert!(all.admit(after(3)).is_none());
        drop((first_busy, third_busy));
        assert!(all.admit(after(4)).is_some());
        drop((first, second, third));
        assert_eq!(all.count(), 0);
    }
}
