//! The arms of a staged rollout, compared.

use std::time::Duration;

use prometheus::{CounterVec, IntCounter, IntCounterVec, Registry};

use super::registrar::Registrar;

/// What became of answers, by arm: speculative and plain.
#[derive(Clone)]
pub(crate) struct RolloutMetrics {
    answers: IntCounterVec,
    tokens: IntCounterVec,
    seconds: CounterVec,
    first_seconds: CounterVec,
    checked: IntCounter,
    same: IntCounter,
}

/// An answer that ended well.
pub(crate) struct ArmSample {
    /// Whether it was decoded plainly.
    pub(crate) plain: bool,
    /// Tokens of the answer.
    pub(crate) tokens: usize,
    /// From the request's first byte to the first token.
    pub(crate) to_first: Duration,
    /// From the first token to the last.
    pub(crate) decoding: Duration,
}

impl RolloutMetrics {
    /// None counted yet.
    ///
    /// # Errors
    /// If a metric of that name is there already.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let r = Registrar(registry);
        Ok(RolloutMetrics {
            answers: r.count_by(
                "card_rollout_answers_total",
                "Answers by arm: speculative, plain",
                &["arm"],
            )?,
            tokens: r.count_by(
                "card_rollout_tokens_total",
                "Tokens after the first of each answer, by arm",
                &["arm"],
            )?,
            seconds: r.amount_by(
                "card_rollout_decode_seconds_total",
                "Time from the first to the last token of each answer, by arm",
                &["arm"],
            )?,
            first_seconds: r.amount_by(
                "card_rollout_first_token_seconds_total",
                "Time to first token of each answer, by arm",
                &["arm"],
            )?,
            checked: r.count(
                "card_rollout_checked_total",
                "Speculated answers that were decoded again, plainly",
            )?,
            same: r.count(
                "card_rollout_same_total",
                "Those that came out the same, token for token",
            )?,
        })
    }

    /// Counts an answer in its arm.
    pub(crate) fn count(&self, sample: &ArmSample) {
        let arm = [if sample.plain { "plain" } else { "speculative" }];
        self.answers.with_label_values(&arm).inc();
        self.tokens
            .with_label_values(&arm)
            .inc_by(sample.tokens.saturating_sub(1) as u64);
        self.seconds
            .with_label_values(&arm)
            .inc_by(sample.decoding.as_secs_f64());
        self.first_seconds
            .with_label_values(&arm)
            .inc_by(sample.to_first.as_secs_f64());
    }

    /// Speculated answers so far.
    pub(crate) fn speculated(&self) -> u64 {
        self.answers.with_label_values(&["speculative"]).get()
    }

    /// Counts an answer that was decoded again, and whether it came out the same.
    pub(crate) fn count_check(&self, same: bool) {
        self.checked.inc();
        if same {
            self.same.inc();
        }
    }
}
