//! What each status means by which a request is refused.

use serde_json::{Map, Value, json};

/// What each refusal means.
pub(super) fn refusals(schema: &Value) -> Map<String, Value> {
    let meanings = [
        (
            400,
            "The request is wrong; the error names the field with its path.",
        ),
        (401, "No key, or a wrong one."),
        (
            403,
            "The page or the name that was used may not use this server.",
        ),
        (404, "There is no such path or model."),
        (
            405,
            "The path does not take this method; `Allow` says which it takes.",
        ),
        (408, "The request did not come in time."),
        (413, "The body is too large."),
        (415, "The body does not say that it is JSON."),
        (
            429,
            "All slots and the line are full; `Retry-After` says when to come again.",
        ),
        (431, "The headers are too large."),
        (500, "The server failed; its log has the cause."),
        (
            501,
            "The server knows what is asked for, and does not do it.",
        ),
        (503, "The server ends, or its engine has ended."),
        (504, "It took longer than the server allows."),
    ];
    let of = |(status, meaning): (u16, &str)| {
        let response = json!({
            "description": meaning,
            "content": { "application/json": { "schema": schema } },
        });
        (status.to_string(), response)
    };
    meanings.into_iter().map(of).collect()
}
