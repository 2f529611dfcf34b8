//! A stream of server-sent events as an answer (WHATWG HTML, "Server-sent events").
//!
//! A comment comes with the headers, before there is any event, and whenever nothing came for a
//! while, so that nobody between server and client takes the connection for dead. A comment is
//! one line without an empty one behind it: some clients take an empty line for the end of an
//! event without data, and break.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt};

/// A line that says nothing.
const COMMENT: &str = ": keep-alive\n";
/// How long nothing may come.
const PAUSE: Duration = Duration::from_secs(15);

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SseEvent {
    /// Its name, for protocols that have some.
    pub(crate) name: Option<&'static str>,
    /// Its data: one line, as JSON is.
    pub(crate) data: String,
}

impl SseEvent {
    /// An event without a name.
    pub(crate) fn unnamed(data: String) -> Self {
        SseEvent { name: None, data }
    }

    fn text(&self) -> String {
        // JSON has no line breaks, and what has some would be cut here.
        let data = self.data.replace(['\n', '\r'], " ");
        match self.name {
            Some(name) => format!("event: {name}\ndata: {data}\n\n"),
            None => format!("data: {data}\n\n"),
        }
    }
}

/// The answer that has these events.
pub(crate) fn respond(events: impl Stream<Item = SseEvent> + Send + 'static) -> Response {
    let began = futures_util::stream::iter([COMMENT.to_owned()]);
    let rest = futures_util::stream::unfold(Box::pin(events), |mut events| async move {
        match tokio::time::timeout(PAUSE, events.next()).await {
            Ok(Some(event)) => Some((event.text(), events)),
            Ok(None) => None,
            Err(_) => Some((COMMENT.to_owned(), events)),
        }
    });
    let bytes = began
        .chain(rest)
        .map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    let mut response = Response::new(Body::from_stream(bytes));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        // A proxy that collects answers would hold the events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn read(events: impl Stream<Item = SseEvent> + Send + 'static) -> String {
        let body = respond(events).into_body();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// A stream whose events come after pauses, with comments in them.
    async fn with_pauses() -> String {
        let named = SseEvent {
            name: Some("a"),
            data: "{}".into(),
        };
        let slow = futures_util::stream::iter([named, SseEvent::unnamed("[DONE]".into())]);
        let slow = slow.then(|event| async move {
            tokio::time::sleep(PAUSE + PAUSE / 2).await;
            event
        });
        read(slow).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_comment_comes_first_and_in_pauses() {
        let comment = ": keep-alive\n";
        let wanted = format!("{comment}{comment}event: a\ndata: {{}}\n\n{comment}data: [DONE]\n\n");
        assert_eq!(with_pauses().await, wanted);
    }

    /// As the standard reads a stream (WHATWG HTML, 9.2.6): the data of its events.
    fn by_the_standard(text: &str) -> Vec<String> {
        let (mut events, mut data) = (Vec::new(), Vec::new());
        for line in text.lines() {
            match line.split_once(':') {
                None if line.is_empty() && !data.is_empty() => {
                    events.push(data.join("\n"));
                    data.clear();
                }
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                _ => {}
            }
        }
        events
    }

    /// As clients read it that look at lines one by one, and at nothing but their beginning.
    fn by_lines(text: &str) -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(str::to_owned).collect()
    }

    /// As clients read it that take every empty line for the end of an event, even one without
    /// data, which then is no JSON.
    fn by_empty_lines(text: &str) -> Vec<String> {
        let (mut events, mut data) = (Vec::new(), String::new());
        for line in text.lines() {
            if line.is_empty() {
                events.push(std::mem::take(&mut data));
            } else if let Some(value) = line.strip_prefix("data:") {
                data.push_str(value.trim());
            }
        }
        events
    }

    #[tokio::test(start_paused = true)]
    async fn strict_and_sloppy_parsers_read_the_same_events_past_comments() {
        let text = with_pauses().await;
        for parse in [by_the_standard, by_lines, by_empty_lines] {
            assert_eq!(parse(&text), ["{}", "[DONE]"]);
        }
    }
}
