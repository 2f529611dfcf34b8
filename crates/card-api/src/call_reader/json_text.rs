//! Texts and words as JSON.

use serde_json::Value;

/// A text as JSON.
pub(super) fn text_of(text: &str) -> String {
    Value::from(text).to_string()
}

/// The inside of a text as JSON.
pub(super) fn escaped(text: &str) -> String {
    let quoted = text_of(text);
    quoted[1..quoted.len() - 1].to_owned()
}

/// A word as JSON writes it, where it is one of the three that Python writes otherwise.
pub(super) fn json_word(word: &str) -> &str {
    match word {
        "True" => "true",
        "False" => "false",
        "None" => "null",
        other => other,
    }
}
