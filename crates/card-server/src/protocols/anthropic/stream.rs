//! A stream of events as it is written.

use std::sync::Arc;

use card_api::ApiError;
use card_api::answer_parts::SpokenPart;
use card_api::anthropic::response::event::StreamEvent;

use super::blocks::BlockEvents;
use super::end::{message_end, message_usage};
use super::parts::WishedParts;
use crate::generation::{GenerationEnd, News, NewsFeed};
use crate::request::TokenUsage;

/// What a stream is made of.
pub(super) struct StreamedParts {
    /// The request's name.
    pub(super) request: String,
    /// Texts that may end the answer.
    pub(super) stops: Arc<[String]>,
    pub(super) parts: WishedParts,
    pub(super) usage: TokenUsage,
    pub(super) news: NewsFeed,
}

/// A stream as it is written. It ends once, with `message_stop` or with an error.
pub(super) struct StreamedMessage {
    request: String,
    stops: Arc<[String]>,
    parts: WishedParts,
    blocks: BlockEvents,
    usage: TokenUsage,
    news: NewsFeed,
    /// Whether everything was said.
    over: bool,
}

impl StreamedMessage {
    /// The stream behind its first events.
    pub(super) fn new(parts: StreamedParts) -> Self {
        StreamedMessage {
            request: parts.request,
            stops: parts.stops,
            parts: parts.parts,
            blocks: BlockEvents::default(),
            usage: parts.usage,
            news: parts.news,
            over: false,
        }
    }

    /// The events that the next news make; `None` when everything was said.
    pub(super) async fn next_events(&mut self) -> Option<Vec<StreamEvent>> {
        if self.over {
            return None;
        }
        let (_, news) = self.news.next().await;
        Some(match news {
            News::Piece(piece) => {
                let parts = self.parts.push(piece.text);
                self.block_events(parts)
            }
            News::Done(end) => self.last_events(&end),
            News::Failed(error) => self.failure(&error),
        })
    }

    fn block_events(&mut self, parts: Vec<SpokenPart>) -> Vec<StreamEvent> {
        let parts = parts.into_iter();
        parts
            .flat_map(|part| self.blocks.take(part, &self.request))
            .collect()
    }

    /// The events at the end: the last block's, why the answer ended, and what it cost.
    fn last_events(&mut self, end: &GenerationEnd) -> Vec<StreamEvent> {
        self.over = true;
        self.usage.add(end, 0, 1);
        let rest = self.parts.finish();
        let mut events = self.block_events(rest);
        events.extend(self.blocks.finish());
        events.push(StreamEvent::MessageDelta {
            delta: message_end(end, self.parts.calls(), &self.stops),
            usage: message_usage(&self.usage),
        });
        events.push(StreamEvent::MessageStop);
        events
    }

    fn failure(&mut self, error: &ApiError) -> Vec<StreamEvent> {
        self.over = true;
        vec![StreamEvent::Error {
            error: error.into(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use card_api::answer_parts::{AnswerReader, Thinking};
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::generation::{EndCause, GenerationTimings, Piece, SpeculationFigures};
    use crate::protocols::anthropic::parts::AnswerWishes;

    fn piece(text: &str) -> News {
        News::Piece(Piece {
            text: text.to_owned(),
            ..Piece::default()
        })
    }

    /// The names of the events that these news make.
    async fn events(news: Vec<News>) -> Vec<&'static str> {
        let (sender, receiver) = channel(8);
        for more in news {
            let _ = sender.send((0, more)).await;
        }
        drop(sender);
        let mut streamed = StreamedMessage::new(StreamedParts {
            request: "7".to_owned(),
            stops: Arc::default(),
            parts: WishedParts::new(
                AnswerReader::new(Thinking::Never, None),
                AnswerWishes::default(),
            ),
            usage: TokenUsage::default(),
            news: NewsFeed::of(receiver),
        });
        let mut names = Vec::new();
        while let Some(events) = streamed.next_events().await {
            names.extend(events.iter().map(StreamEvent::name));
        }
        names
    }

    #[tokio::test]
    async fn a_stream_ends_once_with_an_end_or_an_error() {
        let end = || {
            News::Done(Box::new(GenerationEnd {
                finish: "stop",
                tokens: 2,
                reused: 0,
                predicted: 0,
                mispredicted: 0,
                speculation: SpeculationFigures::default(),
                cause: EndCause::EndToken,
                timings: GenerationTimings::default(),
            }))
        };
        let begun = ["content_block_start", "content_block_delta"];
        let whole = events(vec![piece("a"), piece("b"), end()]).await;
        assert_eq!(whole[..2], begun);
        let ended = [
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        assert_eq!(whole[2..], ended);
        let failed = vec![piece("a"), News::Failed(ApiError::timeout(1)), end()];
        assert_eq!(events(failed).await, [begun[0], begun[1], "error"]);
        assert_eq!(
            events(vec![piece("a")]).await,
            [begun[0], begun[1], "error"]
        );
        assert_eq!(events(vec![end()]).await, ["message_delta", "message_stop"]);
    }
}
