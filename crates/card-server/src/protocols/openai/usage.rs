//! `usage`: how many tokens a request read and wrote; `card`: what speculation brought.

use serde_json::{Value, json};

use crate::request::TokenUsage;

/// The object `usage` of an answer.
pub(super) fn usage_object(usage: &TokenUsage) -> Value {
    let cached = if usage.tell_cached { usage.cached } else { 0 };
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": {
            "accepted_prediction_tokens": usage.predicted,
            "rejected_prediction_tokens": usage.mispredicted,
        },
    })
}

/// The object `card` of an answer.
pub(super) fn report_object(usage: &TokenUsage) -> Value {
    let figures = &usage.speculation;
    let per_round = usage.completion as f64 / figures.rounds.max(1) as f64;
    json!({
        "rounds": figures.rounds,
        "tokens": usage.completion,
        "candidates": figures.candidates,
        "accepted": figures.accepted,
        "tokens_per_round": (per_round * 1e3).round() / 1e3,
        "forward_ms": (figures.forward.as_secs_f64() * 1e5).round() / 1e2,
    })
}
