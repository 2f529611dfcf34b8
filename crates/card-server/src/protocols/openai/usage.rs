//! `usage`: how many tokens a request read and wrote.

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
