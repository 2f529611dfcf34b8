//! A running request as Anthropic's clients follow it: whole, or as a stream.

use axum::response::Response;
use card_api::ApiError;
use card_api::anthropic::response::event::StreamEvent;
use card_api::anthropic::response::message::MessageAnswer;
use futures_util::StreamExt;

use super::blocks::CollectedBlocks;
use super::end::{message_end, message_usage};
use super::error;
use super::parts::{AnswerWishes, WishedParts};
use super::stream::{StreamedMessage, StreamedParts};
use crate::app::ModelFacts;
use crate::generation::{GenerationEnd, News};
use crate::protocols::sse::{SseEvent, respond};
use crate::request::RunningRequest;

/// The answer to a request that runs.
pub(super) struct AnthropicAnswer {
    /// The answer as it is when nothing is written yet.
    message: MessageAnswer,
    parts: WishedParts,
    running: RunningRequest,
}

impl AnthropicAnswer {
    /// The answer of this model to this request. Nothing is written yet.
    pub(super) fn new(model: &ModelFacts, running: RunningRequest, wishes: AnswerWishes) -> Self {
        let id = format!("msg_{}", running.id);
        AnthropicAnswer {
            message: MessageAnswer::begun(id, model.name.clone(), running.usage.prompt),
            parts: WishedParts::new(running.reader(), wishes),
            running,
        }
    }

    /// The answer as a whole.
    pub(super) async fn whole(mut self) -> Response {
        let mut blocks = CollectedBlocks::default();
        let written = self.collect(&mut blocks).await;
        let AnthropicAnswer {
            mut message,
            parts,
            mut running,
        } = self;
        let end = match written {
            Ok(end) => end,
            Err(error) => return error::response(&error, &running.id),
        };
        let told = message_end(&end, parts.calls(), &running.job.stop);
        running.usage.add(&end, 0, 1);
        message.content = blocks.blocks();
        message.stop_reason = Some(told.stop_reason);
        message.stop_sequence = told.stop_sequence;
        message.usage = message_usage(&running.usage);
        let write = move || serde_json::to_vec(&message);
        let written = running.hold.write(write).await;
        written.unwrap_or_else(|error| error::response(&error, &running.id))
    }

    /// Follows the generation to its end.
    ///
    /// # Errors
    /// If it fails or breaks off.
    async fn collect(&mut self, blocks: &mut CollectedBlocks) -> Result<GenerationEnd, ApiError> {
        loop {
            let (parts, end) = match self.running.news.next().await {
                (_, News::Piece(piece)) => (self.parts.push(piece.text), None),
                (_, News::Done(end)) => (self.parts.finish(), Some(*end)),
                (_, News::Failed(error)) => return Err(error),
            };
            for part in parts {
                blocks.take(part, &self.running.id);
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// The answer as a stream of events. A failure that comes soon is an answer of its own, with
    /// its status; later it is an event.
    pub(super) async fn stream(mut self) -> Response {
        if let Err(error) = self.running.first_news().await {
            return error::response(&error, &self.running.id);
        }
        let AnthropicAnswer {
            message,
            parts,
            running,
        } = self;
        let begin = vec![StreamEvent::MessageStart { message }, StreamEvent::Ping];
        let streamed = StreamedMessage::new(StreamedParts {
            request: running.id,
            stops: running.job.stop,
            parts,
            usage: running.usage,
            news: running.news,
        });
        let rest = futures_util::stream::unfold(streamed, |mut streamed| async move {
            Some((streamed.next_events().await?, streamed))
        });
        let events = futures_util::stream::iter([begin])
            .chain(rest)
            .flat_map(futures_util::stream::iter)
            .map(|event| sent(&event));
        running.hold.stream(respond(events))
    }
}

/// An event as it is sent.
fn sent(event: &StreamEvent) -> SseEvent {
    SseEvent {
        name: Some(event.name()),
        data: event.json(),
    }
}
