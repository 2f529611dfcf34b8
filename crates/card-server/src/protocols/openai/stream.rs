//! A stream of events as it is written.

use card_api::ApiError;
use card_api::openai::response::error::error_body;
use card_api::openai::response::report::VerboseReport;
use serde_json::{Value, json};

use super::choice::AnswerChoice;
use super::envelope::AnswerEnvelope;
use crate::generation::{GenerationTimings, News, NewsFeed, PromptRead};
use crate::protocols::timings::{progress, timings};
use crate::request::TokenUsage;

/// What a stream is made of.
pub(super) struct StreamParts {
    pub(super) envelope: AnswerEnvelope,
    pub(super) choices: Vec<AnswerChoice>,
    /// Answers to each prompt.
    pub(super) answers_per_prompt: u32,
    /// Whether the client asked for usage.
    pub(super) with_usage: bool,
    /// Whether the client asked what speculation brought.
    pub(super) with_report: bool,
    /// Whether times and counts come with every chunk.
    pub(super) with_timings: bool,
    /// What the model read, if that is told.
    pub(super) verbose: Option<VerboseReport>,
    pub(super) usage: TokenUsage,
    pub(super) news: NewsFeed,
}

/// A stream as it is written. It ends once, with `[DONE]`, whatever becomes of its choices.
pub(super) struct StreamedAnswer {
    envelope: AnswerEnvelope,
    choices: Vec<AnswerChoice>,
    answers_per_prompt: u32,
    with_usage: bool,
    with_report: bool,
    with_timings: bool,
    verbose: Option<VerboseReport>,
    usage: TokenUsage,
    news: NewsFeed,
    /// Choices that go on; 0 when everything was said.
    open: usize,
    /// Times and counts of the choice that ended last.
    ended: GenerationTimings,
}

impl StreamedAnswer {
    /// The stream, and its events before any text.
    pub(super) fn begin(parts: StreamParts) -> (Self, Vec<String>) {
        let begin = parts.choices.iter().filter_map(AnswerChoice::begin);
        let begin = begin.map(|c| parts.envelope.chunk(c, parts.with_usage).to_string());
        let begin = begin.collect();
        let streamed = StreamedAnswer {
            open: parts.choices.len(),
            envelope: parts.envelope,
            choices: parts.choices,
            answers_per_prompt: parts.answers_per_prompt,
            with_usage: parts.with_usage,
            with_report: parts.with_report,
            with_timings: parts.with_timings,
            verbose: parts.verbose,
            usage: parts.usage,
            news: parts.news,
            ended: GenerationTimings::default(),
        };
        (streamed, begin)
    }

    /// The events that the next news make; `None` when everything was said. The first failure
    /// is the end, and drops what the other choices still write.
    pub(super) async fn next_events(&mut self) -> Option<Vec<String>> {
        if self.open == 0 {
            return None;
        }
        let mut events = match self.news.next().await {
            (index, News::Piece(piece)) => {
                let taken = piece.timings;
                match piece.progress {
                    Some(read) => vec![self.progress_event(index, &read, &taken)],
                    None => {
                        let chunks = self.choices[index].take(piece);
                        self.chunk_events(chunks, &taken)
                    }
                }
            }
            (index, News::Done(end)) => {
                self.usage.add(&end, index, self.answers_per_prompt);
                self.open -= 1;
                let chunks = self.choices[index].finish(&end);
                self.ended = end.timings;
                self.last_events(chunks, &end.timings)
            }
            (_, News::Failed(error)) => self.failure(&error),
        };
        if self.open == 0 {
            if self.with_usage || self.with_report {
                let (usage, report) = (self.with_usage, self.with_report);
                let mut last = self.envelope.last(&self.usage, usage, report);
                last["timings"] = json!(timings(&self.ended, self.usage.tell_cached));
                events.push(last.to_string());
            }
            events.push("[DONE]".to_owned());
        }
        Some(events)
    }

    fn chunk_events(&self, chunks: Vec<Value>, taken: &GenerationTimings) -> Vec<String> {
        let chunks = chunks.into_iter();
        let event = |choice| self.chunk(choice, taken).to_string();
        chunks.map(event).collect()
    }

    /// The events with which a choice ends. The last one of all tells what the model read, if that
    /// is told.
    fn last_events(&mut self, mut chunks: Vec<Value>, taken: &GenerationTimings) -> Vec<String> {
        let last = chunks.pop();
        let mut events = self.chunk_events(chunks, taken);
        if let Some(last) = last {
            let mut chunk = self.chunk(last, taken);
            let verbose = self.verbose.take_if(|_| self.open == 0);
            if let Some(mut verbose) = verbose {
                verbose.tokens_predicted = self.usage.completion;
                chunk["__verbose"] = json!(verbose);
            }
            events.push(chunk.to_string());
        }
        events
    }

    fn chunk(&self, choice: Value, taken: &GenerationTimings) -> Value {
        let mut chunk = self.envelope.chunk(choice, self.with_usage);
        if self.with_timings {
            chunk["timings"] = json!(timings(taken, self.usage.tell_cached));
        }
        chunk
    }

    /// How much of the prompt was read for a choice, as llama-server tells it.
    fn progress_event(&self, index: usize, read: &PromptRead, taken: &GenerationTimings) -> String {
        let mut chunk = self.chunk(self.choices[index].nothing(), taken);
        chunk["prompt_progress"] = json!(progress(read, taken, self.usage.tell_cached));
        chunk.to_string()
    }

    fn failure(&mut self, error: &ApiError) -> Vec<String> {
        self.open = 0;
        vec![error_body(error).to_string()]
    }
}
