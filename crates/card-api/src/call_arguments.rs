//! Arguments of a call of a tool, for protocols that have them as an object and not as text.

use serde_json::{Map, Value};

use crate::reading::loose::value_of;

/// The arguments of a call as an object. What the model wrote instead of an object is the value
/// of a field `input`.
pub fn object_of(arguments: &str) -> Map<String, Value> {
    match value_of(arguments).unwrap_or_else(|| Value::from(arguments)) {
        Value::Object(fields) => fields,
        other => Map::from_iter([("input".to_owned(), other)]),
    }
}

/// Arguments as compact JSON text; `None` if they are no JSON that says something, or have more
/// values than a request may have.
pub(crate) fn compact(arguments: &str) -> Option<String> {
    let value = value_of(arguments).filter(|value| !value.is_null());
    value.map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_an_object_whatever_the_model_wrote() {
        let cases = [
            (r#"{"a":1}"#, json!({ "a": 1 })),
            ("{}", json!({})),
            ("[1]", json!({ "input": [1] })),
            ("no JSON", json!({ "input": "no JSON" })),
        ];
        for (arguments, wanted) in cases {
            assert_eq!(Value::Object(object_of(arguments)), wanted, "{arguments}");
        }
    }
}
