//! The version of JSON Schema that a schema is of.

use serde_json::Value;

/// The version of JSON Schema in which `items` may be a list, a schema for each place.
const LISTS_OF_ITEMS: &str = "http://json-schema.org/draft-07/schema#";

/// A schema with its version, where it does not say it and only an older one has what is in it: a list
/// of `items`.
pub(super) fn dated(mut schema: Value) -> Value {
    let old = has_list_of_items(&schema);
    if let Value::Object(fields) = &mut schema
        && old
        && !fields.contains_key("$schema")
    {
        fields.insert("$schema".to_owned(), LISTS_OF_ITEMS.into());
    }
    schema
}

fn has_list_of_items(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| (name == "items" && value.is_array()) || has_list_of_items(value)),
        Value::Array(list) => list.iter().any(has_list_of_items),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_only_an_older_version_has_says_so() {
        let old = json!({ "properties": { "a": { "items": [{ "type": "integer" }] } } });
        assert_eq!(dated(old)["$schema"], LISTS_OF_ITEMS);
        let said = json!({ "$schema": "x", "items": [true] });
        assert_eq!(dated(said.clone()), said);
        let new = json!({ "items": { "type": "integer" }, "enum": [["items"]] });
        assert_eq!(dated(new.clone()), new);
    }
}
