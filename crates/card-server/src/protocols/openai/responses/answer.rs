//! A running request as clients of `/v1/responses` follow it: whole, or as a stream.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use card_api::ResponseEcho;
use futures_util::StreamExt;
use serde_json::Value;

use super::super::error::OpenAiError;
use super::writer::{ResponseHead, ResponseWriter};
use crate::app::{ItemMemory, ModelFacts};
use crate::clock::unix_seconds;
use crate::generation::{News, NewsFeed};
use crate::protocols::sse::{self, SseEvent};
use crate::request::{RunningRequest, TokenUsage};

/// Where items are remembered, and for whom.
type Remembering = Option<(Arc<ItemMemory>, Arc<str>)>;

/// The answer to a request that runs.
pub(super) struct RunningResponse {
    writer: ResponseWriter,
    memory: Remembering,
    running: RunningRequest,
}

impl RunningResponse {
    /// The answer of this model to this request. Nothing is written yet.
    pub(super) fn new(
        model: &ModelFacts,
        echo: ResponseEcho,
        memory: Remembering,
        running: RunningRequest,
    ) -> Self {
        let job = &running.job;
        let head = ResponseHead {
            request: running.id.clone(),
            created: unix_seconds(),
            model: model.name.clone(),
            echo,
            report: job.report,
        };
        RunningResponse {
            writer: ResponseWriter::new(head, running.reader(), job.stream),
            memory,
            running,
        }
    }

    /// The answer as a whole.
    pub(super) async fn whole(mut self) -> Response {
        loop {
            match self.running.news.next().await {
                (_, News::Piece(piece)) => {
                    self.writer.take(piece);
                }
                (index, News::Done(end)) => {
                    self.running.usage.add(&end, index, 1);
                    let (_, response) = self.writer.finish(&end, &self.running.usage);
                    remember(&self.memory, &self.writer);
                    let write = move || serde_json::to_vec(&response);
                    let written = self.running.hold.write(write).await;
                    return written.unwrap_or_else(|error| OpenAiError(error).into_response());
                }
                (_, News::Failed(error)) => return OpenAiError(error).into_response(),
            }
        }
    }

    /// The answer as a stream of events. A failure that comes soon is an answer of its own, with
    /// its status; later it is an event.
    pub(super) async fn stream(mut self) -> Response {
        if let Err(error) = self.running.first_news().await {
            return OpenAiError(error).into_response();
        }
        let RunningResponse {
            mut writer,
            memory,
            running,
        } = self;
        let begin = writer.begin();
        let streamed = StreamedResponse {
            writer,
            memory,
            usage: running.usage,
            news: running.news,
            over: false,
        };
        let rest = futures_util::stream::unfold(streamed, |mut streamed| async move {
            Some((streamed.next_events().await?, streamed))
        });
        let events = futures_util::stream::iter([begin])
            .chain(rest)
            .flat_map(futures_util::stream::iter);
        running.hold.stream(sse::respond(events))
    }
}

/// A stream as it is written. It ends once, with the event that says how the answer ended.
struct StreamedResponse {
    writer: ResponseWriter,
    memory: Remembering,
    usage: TokenUsage,
    news: NewsFeed,
    /// Whether everything was said.
    over: bool,
}

impl StreamedResponse {
    /// The events that the next news make; `None` when everything was said.
    async fn next_events(&mut self) -> Option<Vec<SseEvent>> {
        if self.over {
            return None;
        }
        let events = match self.news.next().await {
            (_, News::Piece(piece)) => return Some(self.writer.take(piece)),
            (index, News::Done(end)) => {
                self.usage.add(&end, index, 1);
                let (events, _): (_, Value) = self.writer.finish(&end, &self.usage);
                remember(&self.memory, &self.writer);
                events
            }
            (_, News::Failed(error)) => self.writer.fail(&error),
        };
        self.over = true;
        Some(events)
    }
}

/// Remembers the items of an answer that is over.
fn remember(memory: &Remembering, writer: &ResponseWriter) {
    if let Some((memory, owner)) = memory {
        memory.remember(owner, writer.output());
    }
}
