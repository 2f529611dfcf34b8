//! An answer of a model, which keeps the model loaded until it was taken.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// The same response, whose body holds a lease until it was sent or given up.
pub(crate) fn lent<T: Send + Unpin + 'static>(response: Response, lease: T) -> Response {
    response.map(|body| {
        Body::new(LentBody {
            body,
            _lease: lease,
        })
    })
}

/// A body that holds a lease.
struct LentBody<T> {
    body: Body,
    _lease: T,
}

impl<T: Unpin> hyper::body::Body for LentBody<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
