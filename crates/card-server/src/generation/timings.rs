//! What a generation takes: times, and counts of tokens.

use std::time::{Duration, Instant};

use card_core::scheduler::Round;

use crate::metrics::GenerationSample;

/// Times and counts of a generation so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GenerationTimings {
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    /// Those of them that an earlier generation had read.
    pub(crate) reused: usize,
    /// From the slot to the first token; while the prompt is read, to its last part.
    pub(crate) prompt_time: Duration,
    /// Tokens that were written.
    pub(crate) tokens: usize,
    /// From the first of them to the last.
    pub(crate) decode_time: Duration,
    /// Candidates that were verified.
    pub(crate) drafted: usize,
    /// Those of them that the target wrote too.
    pub(crate) accepted: usize,
}

impl GenerationTimings {
    /// The same, for the metrics.
    pub(super) fn sample(&self) -> GenerationSample {
        GenerationSample {
            read: self.prompt.saturating_sub(self.reused),
            reused: self.reused,
            reading: self.prompt_time,
            written: self.tokens,
            writing: self.decode_time,
        }
    }
}

/// How much of a prompt was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PromptRead {
    /// Tokens that are read, with those that an earlier generation had read. While others run
    /// beside it this is an estimate, until all is read.
    pub(crate) tokens: usize,
    /// Since the generation began.
    pub(crate) time: Duration,
}

/// Takes the time of one generation.
pub(super) struct GenerationClock {
    began: Instant,
    first: Option<Instant>,
    /// Tokens of the prompt that are read; `None` before the first round.
    read: Option<usize>,
    pub(super) timings: GenerationTimings,
}

impl GenerationClock {
    /// A generation with a prompt of so many tokens begins now.
    pub(super) fn start(prompt: usize) -> Self {
        GenerationClock {
            began: Instant::now(),
            first: None,
            read: None,
            timings: GenerationTimings {
                prompt,
                ..GenerationTimings::default()
            },
        }
    }

    /// A round ended. Returns what became known of the prompt: how much an earlier generation
    /// had read of it, and how much is read now.
    pub(super) fn round(&mut self, round: &Round) -> [Option<PromptRead>; 2] {
        let timings = &mut self.timings;
        timings.reused = round.reused;
        if !round.prefill {
            timings.drafted += round.offered;
            timings.accepted += round.accepted.len();
            return [None, None];
        }
        let before = self.read.unwrap_or(round.reused);
        let begin = self.read.is_none().then_some(PromptRead {
            tokens: before,
            time: Duration::ZERO,
        });
        // Rows of other generations are among those of the forward.
        let now = if round.tokens.is_empty() {
            (before + round.rows).min(timings.prompt.saturating_sub(1))
        } else {
            timings.prompt
        };
        self.read = Some(now);
        timings.prompt_time = self.began.elapsed();
        let read = PromptRead {
            tokens: now,
            time: timings.prompt_time,
        };
        [begin, (now > before).then_some(read)]
    }

    /// So many tokens are written by now.
    pub(super) fn wrote(&mut self, tokens: usize) {
        let now = Instant::now();
        let first = *self.first.get_or_insert(now);
        self.timings.prompt_time = first - self.began;
        self.timings.decode_time = now - first;
        self.timings.tokens = tokens;
    }
}
