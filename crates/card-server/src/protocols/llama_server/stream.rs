//! A stream of events as llama-server's clients read it. There is no `[DONE]`: each answer's last
//! event has `stop: true`.

use card_api::ApiError;
use card_api::llama_server::error::native_error_body;
use serde_json::Value;

use super::choice::{FinalAnswer, NativeChoice};
use crate::generation::{FullAnswers, News, NewsFeed};

/// A stream as it is written.
pub(super) struct NativeStream {
    choices: Vec<NativeChoice>,
    /// Which of them were finished.
    finished: Vec<bool>,
    news: NewsFeed,
    /// Answers that have all that they are to have.
    full: FullAnswers,
    /// Whether everything was said.
    over: bool,
}

impl NativeStream {
    /// The stream of these answers.
    pub(super) fn new(choices: Vec<NativeChoice>, news: NewsFeed, full: FullAnswers) -> Self {
        NativeStream {
            finished: vec![false; choices.len()],
            choices,
            news,
            full,
            over: false,
        }
    }

    /// The events that the next news make; `None` when everything was said. The first failure
    /// is the end, and drops what the other answers still write.
    pub(super) async fn next_events(&mut self) -> Option<Vec<String>> {
        if self.over {
            return None;
        }
        let events = match self.news.next().await {
            (index, News::Piece(piece)) => {
                let choice = &mut self.choices[index];
                let chunks = choice.take(piece).into_iter();
                let mut events: Vec<String> = chunks.map(|c: Value| c.to_string()).collect();
                if choice.is_over() && !self.finished[index] {
                    self.full.add(index);
                    let last = choice.finish(None);
                    events.extend(self.finish(index, &last));
                }
                events
            }
            (index, News::Done(end)) if !self.finished[index] => {
                let last = self.choices[index].finish(Some(&end));
                self.finish(index, &last).into_iter().collect()
            }
            (_, News::Done(_)) => Vec::new(),
            (_, News::Failed(error)) => self.failure(&error),
        };
        Some(events)
    }

    /// The last event of an answer.
    fn finish(&mut self, index: usize, last: &FinalAnswer) -> Option<String> {
        self.finished[index] = true;
        self.over = self.finished.iter().all(|finished| *finished);
        serde_json::to_string(last).ok()
    }

    fn failure(&mut self, error: &ApiError) -> Vec<String> {
        self.over = true;
        vec![native_error_body(error).to_string()]
    }
}
