//! Whether a value fits a schema, as far as types, lists of values, properties and items go.

use serde_json::{Map, Value};

/// How deep arguments are compared with their schema; what is deeper fits.
const DEEPEST: usize = 64;

/// Whether a value fits a schema.
pub(crate) fn fits(schema: &Value, value: &Value) -> bool {
    fits_at(schema, value, 0)
}

fn fits_at(schema: &Value, value: &Value, depth: usize) -> bool {
    let Value::Object(schema) = schema else {
        return schema != &Value::Bool(false);
    };
    if depth > DEEPEST {
        return true;
    }
    let fit = |schema: &Value, value: &Value| fits_at(schema, value, depth + 1);
    let typed = match schema.get("type") {
        Some(Value::String(kind)) => is(value, kind),
        Some(Value::Array(kinds)) => kinds
            .iter()
            .any(|k| k.as_str().is_some_and(|k| is(value, k))),
        _ => true,
    };
    let listed = match schema.get("enum") {
        Some(Value::Array(values)) => values.contains(value),
        _ => schema.get("const").is_none_or(|wanted| wanted == value),
    };
    let chosen = ["anyOf", "oneOf"].iter().all(|key| match schema.get(*key) {
        Some(Value::Array(choices)) => choices.iter().any(|c| fit(c, value)),
        _ => true,
    });
    let within = match value {
        Value::Object(fields) => fields_fit(schema, fields, &fit),
        Value::Array(items) => match schema.get("items") {
            Some(each) => items.iter().all(|item| fit(each, item)),
            None => true,
        },
        _ => true,
    };
    typed && listed && chosen && within
}

fn fields_fit(
    schema: &Map<String, Value>,
    fields: &Map<String, Value>,
    fit: &impl Fn(&Value, &Value) -> bool,
) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    let mut required = required.into_iter().flatten().filter_map(Value::as_str);
    let properties = schema.get("properties").and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
        && !schema.contains_key("patternProperties");
    required.all(|name| fields.contains_key(name))
        && fields
            .iter()
            .all(|(name, value)| match properties.and_then(|p| p.get(name)) {
                Some(schema) => fit(schema, value),
                None => !closed,
            })
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => true,
    }
}
