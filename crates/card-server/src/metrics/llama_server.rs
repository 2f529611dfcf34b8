//! Metrics under the names that llama-server has for them, for dashboards made for it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use card_core::scheduler::Round;
use prometheus::{Counter, Gauge, IntCounter, IntGauge};

use super::levels::Levels;
use super::registrar::Registrar;

/// Counters and gauges under llama-server's names.
pub(crate) struct LlamaServerMetrics {
    prompt_tokens: IntCounter,
    prompt_cached: IntCounter,
    prompt_seconds: Counter,
    predicted: IntCounter,
    predicted_seconds: Counter,
    /// Forwards. A round is of one sequence, and adds its share of a forward.
    decodes: Counter,
    longest: IntCounter,
    drafted: IntCounter,
    accepted: IntCounter,
    drafts: IntCounter,
    prompt_rate: Gauge,
    predicted_rate: Gauge,
    processing: IntGauge,
    deferred: IntGauge,
    busy: Gauge,
    /// What ended since somebody read the metrics last.
    since: Mutex<Since>,
    /// Rounds so far.
    rounds: Mutex<f64>,
}

/// A generation that ended well.
pub(crate) struct GenerationSample {
    /// Tokens of the prompt that were read.
    pub(crate) read: usize,
    /// Tokens of the prompt that an earlier generation had read.
    pub(crate) reused: usize,
    /// Time of reading the prompt.
    pub(crate) reading: Duration,
    /// Tokens that were written.
    pub(crate) written: usize,
    /// From the first of them to the last.
    pub(crate) writing: Duration,
}

/// Tokens and seconds, of which the gauges make rates.
#[derive(Clone, Copy, Default)]
struct Since {
    prompt: f64,
    prompt_seconds: f64,
    predicted: f64,
    predicted_seconds: f64,
}

impl LlamaServerMetrics {
    /// None counted yet.
    pub(super) fn new(registrar: &Registrar) -> Result<Self, prometheus::Error> {
        let r = registrar;
        Ok(LlamaServerMetrics {
            prompt_tokens: r.count(
                "llamacpp:prompt_tokens_total",
                "Tokens of prompts that were read, without those of the cache",
            )?,
            prompt_cached: r.count(
                "llamacpp:prompt_tokens_cached_total",
                "Tokens of prompts that an earlier generation had read",
            )?,
            prompt_seconds: r.amount("llamacpp:prompt_seconds_total", "Time of reading prompts")?,
            predicted: r.count("llamacpp:tokens_predicted_total", "Tokens written")?,
            predicted_seconds: r.amount(
                "llamacpp:tokens_predicted_seconds_total",
                "Time of writing, from the first token of each answer to its last",
            )?,
            decodes: r.amount("llamacpp:n_decode_total", "Forwards of the target")?,
            longest: r.count(
                "llamacpp:n_tokens_max",
                "Most tokens of a prompt and its answer together",
            )?,
            drafted: r.count(
                "llamacpp:spec_decode_num_draft_tokens_total",
                "Candidates verified",
            )?,
            accepted: r.count(
                "llamacpp:spec_decode_num_accepted_tokens_total",
                "Candidates accepted",
            )?,
            drafts: r.count(
                "llamacpp:spec_decode_num_drafts_total",
                "Rounds in which candidates were verified, per sequence",
            )?,
            prompt_rate: r.gauge(
                "llamacpp:prompt_tokens_seconds",
                "Tokens of prompts read in a second, of what ended since the last look",
            )?,
            predicted_rate: r.gauge(
                "llamacpp:predicted_tokens_seconds",
                "Tokens written in a second, of what ended since the last look",
            )?,
            processing: r.level("llamacpp:requests_processing", "Generations at work")?,
            deferred: r.level(
                "llamacpp:requests_deferred",
                "Generations that wait for a slot",
            )?,
            busy: r.gauge(
                "llamacpp:n_busy_slots_per_decode",
                "Sequences in a forward of the target, on average",
            )?,
            since: Mutex::default(),
            rounds: Mutex::default(),
        })
    }

    /// Counts a round.
    pub(super) fn round(&self, round: &Round) {
        let share = 1.0 / f64::from(round.why.sequences.max(1));
        self.decodes.inc_by(share);
        *self.rounds.lock().unwrap_or_else(PoisonError::into_inner) += 1.0;
        if !round.prefill && round.offered > 0 {
            self.drafts.inc();
            self.drafted.inc_by(round.offered as u64);
            self.accepted.inc_by(round.accepted.len() as u64);
        }
    }

    /// Counts a generation that ended well.
    pub(crate) fn ended(&self, sample: &GenerationSample) {
        let (reading, writing) = (sample.reading.as_secs_f64(), sample.writing.as_secs_f64());
        self.prompt_tokens.inc_by(sample.read as u64);
        self.prompt_cached.inc_by(sample.reused as u64);
        self.prompt_seconds.inc_by(reading);
        self.predicted.inc_by(sample.written as u64);
        self.predicted_seconds.inc_by(writing);
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.prompt += sample.read as f64;
        since.prompt_seconds += reading;
        since.predicted += sample.written.saturating_sub(1) as f64;
        since.predicted_seconds += writing;
        // The lock is held, so that two ends do not both add to the longest.
        let length = (sample.read + sample.reused + sample.written) as u64;
        self.longest
            .inc_by(length.saturating_sub(self.longest.get()));
    }

    /// Counts texts of which vectors were made: their tokens, their forwards, and the time.
    pub(crate) fn embedded(&self, tokens: usize, forwards: usize, time: Duration) {
        self.decodes.inc_by(forwards as f64);
        *self.rounds.lock().unwrap_or_else(PoisonError::into_inner) += forwards as f64;
        self.ended(&GenerationSample {
            read: tokens,
            reused: 0,
            reading: time,
            written: 0,
            writing: Duration::ZERO,
        });
    }

    /// Takes over what was read, and makes rates of what ended since the last time.
    pub(super) fn set(&self, levels: &Levels) {
        self.processing.set(levels.running as i64);
        self.deferred.set(levels.waiting as i64);
        let since = {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *since)
        };
        let rate = |tokens: f64, seconds: f64| if seconds > 0.0 { tokens / seconds } else { 0.0 };
        self.prompt_rate
            .set(rate(since.prompt, since.prompt_seconds));
        self.predicted_rate
            .set(rate(since.predicted, since.predicted_seconds));
        let rounds = *self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        self.busy.set(rounds / self.decodes.get().max(1.0));
    }
}
