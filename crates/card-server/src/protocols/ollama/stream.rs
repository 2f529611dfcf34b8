//! An answer line by line, as it is written.

use card_api::ApiError;
use card_api::answer_parts::{AnswerReader, SpokenPart};

use super::error;
use super::lines::{LineWriter, OllamaSaid};
use super::logprobs::logprobs;
use super::timing::AnswerTiming;
use crate::generation::{GenerationEnd, News, NewsFeed};
use crate::request::TokenUsage;

/// What an answer line by line is made of.
pub(super) struct OllamaParts {
    pub(super) lines: LineWriter,
    pub(super) reader: AnswerReader,
    pub(super) timing: AnswerTiming,
    pub(super) usage: TokenUsage,
    pub(super) news: NewsFeed,
}

/// An answer line by line. It ends once, with a line that is done or with an error.
pub(super) struct StreamedLines {
    lines: LineWriter,
    reader: AnswerReader,
    timing: AnswerTiming,
    usage: TokenUsage,
    news: NewsFeed,
    /// Whether everything was said.
    over: bool,
}

impl StreamedLines {
    /// The answer to a request.
    pub(super) fn new(parts: OllamaParts) -> Self {
        StreamedLines {
            lines: parts.lines,
            reader: parts.reader,
            timing: parts.timing,
            usage: parts.usage,
            news: parts.news,
            over: false,
        }
    }

    /// The lines that the next news make, at least one; `None` when everything was said.
    pub(super) async fn next_lines(&mut self) -> Option<Vec<u8>> {
        while !self.over {
            let (_, news) = self.news.next().await;
            self.timing.news();
            let lines = match news {
                News::Piece(piece) => {
                    let mut said = OllamaSaid::default();
                    said.add_logprobs(logprobs(piece.logprobs));
                    let parts = self.reader.push(piece.text);
                    self.line(said, parts)
                }
                News::Done(end) => self.last_lines(&end),
                News::Failed(error) => self.failure(&error),
            };
            if !lines.is_empty() {
                return Some(lines);
            }
        }
        None
    }

    /// A line with these parts, if it says something.
    fn line(&mut self, mut said: OllamaSaid, parts: Vec<SpokenPart>) -> Vec<u8> {
        for part in parts {
            self.lines.add(&mut said, part);
        }
        if said.is_empty() {
            return Vec::new();
        }
        self.lines.line(said, None)
    }

    /// What was held back, and the line that is done.
    fn last_lines(&mut self, end: &GenerationEnd) -> Vec<u8> {
        self.over = true;
        self.usage.add(end, 0, 1);
        let rest = self.reader.finish();
        let mut lines = self.line(OllamaSaid::default(), rest);
        let end = self.timing.end(end, &self.usage);
        lines.extend(self.lines.line(OllamaSaid::default(), Some(end)));
        lines
    }

    fn failure(&mut self, error: &ApiError) -> Vec<u8> {
        self.over = true;
        let mut line = error::body(error);
        line.push(b'\n');
        line
    }
}
