//! How long an answer took.

use std::time::{Duration, Instant};

use card_api::ollama::response::answer::OllamaEnd;

use crate::generation::GenerationEnd;
use crate::request::TokenUsage;

/// The moments of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerTiming {
    /// When the request's first byte came.
    came: Instant,
    /// When it was read and prepared.
    began: Instant,
    /// When the first news of its generation came.
    first: Option<Instant>,
}

impl AnswerTiming {
    /// The times of a request that came then, and is prepared now.
    pub(super) fn begun(came: Instant) -> Self {
        AnswerTiming {
            came,
            began: Instant::now(),
            first: None,
        }
    }

    /// There are news of its generation.
    pub(super) fn news(&mut self) {
        self.first.get_or_insert_with(Instant::now);
    }

    /// What the last line says of an answer that ends now.
    pub(super) fn end(&self, end: &GenerationEnd, usage: &TokenUsage) -> OllamaEnd {
        let now = Instant::now();
        let first = self.first.unwrap_or(now);
        OllamaEnd {
            done_reason: Some(end.finish.to_owned()),
            total_duration: Some(nanoseconds(now - self.came)),
            load_duration: Some(nanoseconds(self.began - self.came)),
            prompt_eval_count: Some(usage.prompt),
            prompt_eval_duration: Some(nanoseconds(first - self.began)),
            eval_count: Some(usage.completion),
            eval_duration: Some(nanoseconds(now - first)),
        }
    }
}

/// What the only line says where nothing was to be generated.
pub(super) fn loaded(came: Instant) -> OllamaEnd {
    OllamaEnd {
        done_reason: Some("load".to_owned()),
        total_duration: Some(nanoseconds(came.elapsed())),
        load_duration: Some(0),
        ..OllamaEnd::default()
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
