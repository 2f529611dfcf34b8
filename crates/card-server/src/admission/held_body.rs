//! A request's place is held until its answer was taken.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use hyper::body::{Frame, SizeHint};
use tokio::task::AbortHandle;

use super::line::AdmissionPlace;
use crate::clock::RequestDeadline;
use crate::connections::Busy;

/// What a reader gets beyond a request's deadline to take what was written.
const TAKING: Duration = Duration::from_secs(30);

/// What an answer holds until it was taken.
pub(crate) struct AnswerHold {
    /// The request's place in the line.
    pub(crate) place: AdmissionPlace,
    /// When the request has to be answered.
    pub(crate) deadline: RequestDeadline,
    /// The request on its connection, which is closed when its reader takes too long.
    pub(crate) busy: Option<Arc<Busy>>,
}

impl AnswerHold {
    /// A whole answer of JSON, which `write` writes off the threads that speak HTTP: it may be
    /// large.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn write<F>(self, write: F) -> Result<Response, ApiError>
    where
        F: FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
    {
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(json)) => Ok(self.json(json)),
            Ok(Err(error)) => Err(ApiError::internal(error.to_string())),
            Err(error) => Err(ApiError::internal(error.to_string())),
        }
    }

    /// A whole answer of JSON.
    pub(crate) fn json(self, json: Vec<u8>) -> Response {
        let until = self.deadline.at + TAKING;
        let body = Body::new(HeldBody::whole(json, self.place, until, self.busy));
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }

    /// An answer that is still being written. A reader that takes the rest slowly may take as
    /// long again as it could be idle.
    pub(crate) fn stream(self, response: Response) -> Response {
        let until = self.deadline.at + TAKING;
        response.map(|body| Body::new(HeldBody::stream(body, self.place, until, self.busy)))
    }
}

/// The body of an answer. It holds its request's place until it is sent, but for what fits the
/// connection's buffer: an answer that nobody takes is memory, and so is counted as a request
/// that runs. At a given moment it breaks off, however slowly it is taken.
struct HeldBody {
    content: BodyContent,
    _place: AdmissionPlace,
    /// The task that closes the connection when the time is over.
    end: Option<AbortHandle>,
}

/// What an answer is made of.
enum BodyContent {
    /// What is left of an answer that was written as a whole.
    Whole(Bytes),
    /// An answer that is still being written.
    Stream(Body),
}

/// A whole answer is handed out in pieces of this.
const PIECE: usize = 64 << 10;

impl HeldBody {
    /// An answer that was written as a whole. At `until` its connection is closed.
    fn whole(
        json: Vec<u8>,
        place: AdmissionPlace,
        until: Instant,
        busy: Option<Arc<Busy>>,
    ) -> Self {
        Self::new(BodyContent::Whole(json.into()), place, until, busy)
    }

    /// An answer that is still being written.
    fn stream(body: Body, place: AdmissionPlace, until: Instant, busy: Option<Arc<Busy>>) -> Self {
        Self::new(BodyContent::Stream(body), place, until, busy)
    }

    fn new(
        content: BodyContent,
        place: AdmissionPlace,
        until: Instant,
        busy: Option<Arc<Busy>>,
    ) -> Self {
        // A body is not asked while the connection's buffer is full, so it cannot look at the
        // time itself.
        let end = busy.map(|busy| {
            let close = busy.closer();
            let end = async move {
                tokio::time::sleep_until(until.into()).await;
                close();
            };
            tokio::spawn(end).abort_handle()
        });
        HeldBody {
            content,
            _place: place,
            end,
        }
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        if let Some(end) = &self.end {
            end.abort();
        }
    }
}

impl hyper::body::Body for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.content {
            BodyContent::Whole(rest) if rest.is_empty() => Poll::Ready(None),
            BodyContent::Whole(rest) => {
                let piece = rest.split_to(PIECE.min(rest.len()));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            BodyContent::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            BodyContent::Whole(rest) => rest.is_empty(),
            BodyContent::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            BodyContent::Whole(rest) => SizeHint::with_exact(rest.len() as u64),
            BodyContent::Stream(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::StreamExt;

    use super::super::line::Admission;
    use super::*;

    #[tokio::test]
    async fn an_answer_holds_its_place_until_it_was_taken() {
        let admission = Admission::new(1, 0, 1 << 20, Duration::from_secs(10));
        let until = Instant::now() + Duration::from_secs(60);
        let place = admission.enter().unwrap();
        let whole = HeldBody::whole(vec![b'x'; 2 * PIECE + 1], place, until, None);
        assert_eq!(
            hyper::body::Body::size_hint(&whole).exact(),
            Some(2 * PIECE as u64 + 1)
        );
        let mut taken = Body::new(whole).into_data_stream();
        let mut sizes = Vec::new();
        while let Some(piece) = taken.next().await {
            assert!(admission.enter().is_err());
            sizes.push(piece.unwrap().len());
        }
        assert_eq!(sizes, [PIECE, PIECE, 1]);
        drop(taken);
        assert!(admission.enter().is_ok());
    }
}
