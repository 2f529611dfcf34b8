//! The rounds that the page shows.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use card_api::ApiError;
use futures_util::Stream;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::app::LiveSeat;
use crate::caller::Caller;
use crate::front::Front;
use crate::protocols::openai::error::OpenAiError;

/// Seconds after which a page may ask again to look on.
const RETRY_S: u32 = 10;

/// What the caller's own generations do, as it happens, whichever model they are of.
pub(super) async fn live(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, OpenAiError> {
    if front.is_starting() {
        // The page asks again.
        return Err(ApiError::loading().into());
    }
    let common = &front.common;
    let seat = common.live.seat(&caller.name);
    let seat = seat.ok_or_else(|| ApiError::busy(RETRY_S))?;
    let known = front.summary();
    let known = known.as_ref();
    let about = json!({
        "kind": "about",
        "model": front.name(),
        "models": front.models.names(),
        "context": known.map(|k| k.context),
        "note": known.and_then(|k| k.note.as_deref()),
        "exactness": known.map(|k| &k.exactness),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let watcher = LiveWatcher {
        seat,
        ends: common.draining.subscribe(),
        first: Some(about.to_string()),
    };
    let events = futures_util::stream::unfold(watcher, |mut watcher| async move {
        Some((Ok(Event::default().data(watcher.next().await?)), watcher))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// A page that looks on.
struct LiveWatcher {
    /// A seat among those of the caller, whose own records are shown.
    seat: LiveSeat,
    /// Becomes true when the server ends.
    ends: watch::Receiver<bool>,
    /// The record that the page gets before all others.
    first: Option<String>,
}

impl LiveWatcher {
    /// What comes next for it; `None` when the server ends.
    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let record = tokio::select! {
                // An open page must not hold up a server that ends.
                _ = self.ends.wait_for(|end| *end) => return None,
                record = self.seat.records.recv() => record,
            };
            match record {
                Ok(record) => return Some(record.to_string()),
                // A page that cannot keep up misses some.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
