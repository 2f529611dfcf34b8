//! The bodies of records: those that the log writes itself, and the size of all.

use std::io::{Error, ErrorKind, Result};

use serde_json::{Value, json};

use crate::line::LARGEST;

/// A record that says that others are missing; `lost` is `None` where nobody could count.
pub(crate) fn gap(lost: Option<u64>, since: Option<u64>, until: u64, why: &str) -> Value {
    json!({ "kind": "gap", "lost": lost, "since": since, "until": until, "why": why })
}

/// The record that a log begins with.
pub(crate) fn first(log: &str, now: u64) -> Value {
    json!({ "kind": "log", "log": log, "time": now })
}

/// A record that says that the log was shorter at a start than its head says; `lost` is `None`
/// where nobody could count.
pub(crate) fn cut(lost: Option<u64>, now: u64, why: &str) -> Value {
    json!({ "kind": "cut", "lost": lost, "time": now, "why": why })
}

/// A record that says that a server started.
pub(crate) fn opened(log: &str, now: u64) -> Value {
    json!({
        "kind": "open",
        "log": log,
        "version": env!("CARGO_PKG_VERSION"),
        "time": now,
    })
}

/// A record that says that a server stopped.
pub(crate) fn closed(now: u64) -> Value {
    json!({ "kind": "close", "time": now })
}

/// The text of a record. The large parts of a record that is too large are replaced by their
/// sizes, so that nobody escapes the log by sending much.
pub(crate) fn fitting(record: &Value) -> Result<String> {
    /// A part is large from this many bytes on.
    const LARGE: usize = 64 << 10;
    let text = record.to_string();
    if text.len() <= LARGEST {
        return Ok(text);
    }
    let mut record = record.clone();
    if let Some(parts) = record.as_object_mut() {
        for part in parts.values_mut() {
            let bytes = part.to_string().len();
            if bytes > LARGE {
                *part = json!({ "omitted_bytes": bytes });
            }
        }
    }
    let text = record.to_string();
    if text.len() > LARGEST {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a record of {} bytes is too large", text.len()),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_too_large_keeps_who_asked() {
        let text = "x".repeat(LARGEST);
        let body = fitting(&json!({ "kind": "begin", "who": "ann", "prompt": text })).unwrap();
        assert_eq!(
            body,
            format!(
                "{{\"kind\":\"begin\",\"who\":\"ann\",\"prompt\":{{\"omitted_bytes\":{}}}}}",
                LARGEST + 2
            )
        );
        assert!(fitting(&json!([text])).is_err());
    }
}
