//! The value of an argument that stands in marks, and not as JSON.

use serde_json::Value;

use super::json_text::{json_word, text_of};
use crate::argument_fit::fits;
use crate::job::OfferedFunction;
use crate::reading::loose::value_of;

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ArgumentKind {
    /// Text: whatever stands there.
    Text,
    /// JSON, or text that is none.
    Any,
}

/// The schema of an argument, if the function was offered with one.
fn schema<'a>(offered: &'a [OfferedFunction], function: &str, argument: &str) -> Option<&'a Value> {
    let function = offered.iter().find(|f| f.name == function)?;
    function
        .parameters
        .as_ref()?
        .get("properties")?
        .get(argument)
}

/// What an argument may be, by the schema of its function.
pub(super) fn kind(offered: &[OfferedFunction], function: &str, argument: &str) -> ArgumentKind {
    let text = |value: &Value| value.is_string();
    let is_text = schema(offered, function, argument).is_some_and(|schema| {
        schema.get("type").and_then(Value::as_str) == Some("string")
            || schema.get("const").is_some_and(text)
            || schema
                .get("enum")
                .and_then(Value::as_array)
                .is_some_and(|all| !all.is_empty() && all.iter().all(text))
    });
    if is_text {
        ArgumentKind::Text
    } else {
        ArgumentKind::Any
    }
}

/// The JSON text of an argument that may be anything: what stands there if it is JSON that fits,
/// and else a text. Text is never read as the JSON text of a text.
pub(super) fn json_of(
    offered: &[OfferedFunction],
    function: &str,
    argument: &str,
    written: &str,
) -> String {
    let schema = schema(offered, function, argument);
    let word = json_word(written.trim());
    match value_of(word) {
        Some(Value::String(_)) | None => text_of(written),
        Some(value) if schema.is_none_or(|schema| shaped(schema, &value)) => word.to_owned(),
        Some(_) => text_of(written),
    }
}

/// Whether a value fits a schema, or at least the schema allows no text in its place.
fn shaped(schema: &Value, value: &Value) -> bool {
    fits(schema, value) || !fits(schema, &Value::String(String::new()))
}
