//! Refusals in the shape of a protocol that has errors of its own.

use serde_json::{Value, json};

use super::operation::Operation;

/// The operation, whose refusals have an error of this schema. A refusal that comes before the
/// path is known has OpenAI's.
pub(super) fn refuses_with(
    operation: Operation,
    statuses: &[u16],
    own: &Value,
    openai: &Value,
) -> Operation {
    statuses.iter().fold(operation, |operation, status| {
        let response = json!({
            "description": "The request is refused, or the server failed; the error says why.",
            "content": { "application/json": { "schema": { "anyOf": [own, openai] } } },
        });
        operation.other(*status, response)
    })
}

/// Statuses of refusals of paths that generate text.
pub(super) const OF_GENERATION: [u16; 14] = [
    400, 401, 403, 404, 405, 408, 413, 415, 429, 431, 500, 501, 503, 504,
];
/// Statuses of refusals of paths that say something at once.
pub(super) const AT_ONCE: [u16; 9] = [400, 401, 403, 404, 405, 408, 431, 500, 503];
