//! A running request as Ollama's clients follow it: whole, or line by line.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use card_api::answer_parts::AnswerReader;
use futures_util::StreamExt;

use super::error;
use super::lines::{LineWriter, OllamaSaid};
use super::logprobs::logprobs;
use super::stream::{OllamaParts, StreamedLines};
use super::timing::AnswerTiming;
use crate::generation::{GenerationEnd, News};
use crate::request::RunningRequest;

/// The media type of an answer line by line.
pub(super) const LINES: &str = "application/x-ndjson";

/// The answer to a request that runs.
pub(super) struct OllamaAnswer {
    lines: LineWriter,
    reader: AnswerReader,
    timing: AnswerTiming,
    running: RunningRequest,
}

impl OllamaAnswer {
    /// The answer to this request. Nothing is written yet.
    pub(super) fn new(running: RunningRequest, lines: LineWriter, timing: AnswerTiming) -> Self {
        OllamaAnswer {
            lines,
            reader: running.whole_reader(),
            timing,
            running,
        }
    }

    /// The answer as a whole.
    pub(super) async fn whole(mut self) -> Response {
        let mut said = OllamaSaid::default();
        let end = match self.collect(&mut said).await {
            Ok(end) => end,
            Err(error) => return error::response(&error),
        };
        let OllamaAnswer {
            lines,
            timing,
            mut running,
            ..
        } = self;
        running.usage.add(&end, 0, 1);
        let end = timing.end(&end, &running.usage);
        let write = move || Ok(lines.line(said, Some(end)));
        let written = running.hold.write(write).await;
        written.unwrap_or_else(|error| error::response(&error))
    }

    /// Follows the generation to its end.
    ///
    /// # Errors
    /// If it fails or breaks off.
    async fn collect(&mut self, said: &mut OllamaSaid) -> Result<GenerationEnd, ApiError> {
        loop {
            let (_, news) = self.running.news.next().await;
            self.timing.news();
            let (parts, end) = match news {
                News::Piece(piece) => {
                    said.add_logprobs(logprobs(piece.logprobs));
                    (self.reader.push(piece.text), None)
                }
                News::Done(end) => (self.reader.finish(), Some(*end)),
                News::Failed(error) => return Err(error),
            };
            for part in parts {
                self.lines.add(said, part);
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// The answer line by line. A failure that comes soon is an answer of its own, with its
    /// status; later it is a line.
    pub(super) async fn stream(mut self) -> Response {
        if let Err(error) = self.running.first_news().await {
            return error::response(&error);
        }
        let OllamaAnswer {
            lines,
            reader,
            timing,
            running,
        } = self;
        let streamed = StreamedLines::new(OllamaParts {
            lines,
            reader,
            timing,
            usage: running.usage,
            news: running.news,
        });
        let bytes = futures_util::stream::unfold(streamed, |mut streamed| async move {
            Some((streamed.next_lines().await?, streamed))
        });
        let body = Body::from_stream(bytes.map(Ok::<_, Infallible>));
        let response = ([(header::CONTENT_TYPE, LINES)], body).into_response();
        running.hold.stream(response)
    }
}
