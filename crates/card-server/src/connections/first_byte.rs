//! When a request began: with the first byte of its head, not with its end, so that a client
//! cannot stretch its deadline by sending slowly.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// When the first byte of a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstByte(pub(crate) Instant);

/// When the request that is read on a connection began. The connection's stream, which sees
/// bytes come, and its service, which takes the time with each request, share it.
#[derive(Clone, Default)]
pub(super) struct FirstBytes(Arc<Mutex<RequestPart>>);

/// What the bytes that come belong to.
#[derive(Clone, Copy, Default)]
enum RequestPart {
    /// The next request; none of it has come.
    #[default]
    Nothing,
    /// The head of a request that began then.
    Head(Instant),
    /// The body of a request, or requests that are sent ahead.
    Request,
}

impl FirstBytes {
    fn lock(&self) -> std::sync::MutexGuard<'_, RequestPart> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came.
    pub(super) fn came(&self) {
        let mut reading = self.lock();
        if let RequestPart::Nothing = *reading {
            *reading = RequestPart::Head(Instant::now());
        }
    }

    /// A head was read: when its first byte came.
    pub(super) fn take(&self) -> FirstByte {
        match std::mem::replace(&mut *self.lock(), RequestPart::Request) {
            RequestPart::Head(first) => FirstByte(first),
            RequestPart::Nothing | RequestPart::Request => FirstByte(Instant::now()),
        }
    }

    /// A request was answered: what comes next belongs to another.
    pub(super) fn wait(&self) {
        *self.lock() = RequestPart::Nothing;
    }
}

/// A stream that notes when bytes come.
pub(super) struct NotedStream<S> {
    inner: S,
    first_byte: FirstBytes,
}

impl<S> NotedStream<S> {
    /// The stream `inner`, whose first bytes are noted in `first_byte`.
    pub(super) fn new(inner: S, first_byte: FirstBytes) -> Self {
        NotedStream { inner, first_byte }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NotedStream<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for NotedStream<S> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
