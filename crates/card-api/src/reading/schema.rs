//! The schema of an object whose fields two types read.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

/// The schema of an object with the fields of both.
pub(crate) fn together<A: JsonSchema, B: JsonSchema>(
    generator: &mut SchemaGenerator,
    description: &str,
) -> Schema {
    let mut both = Map::new();
    both.insert("description".into(), description.into());
    both.insert("type".into(), "object".into());
    let (mut fields, mut required) = (Map::new(), Vec::new());
    for part in [B::json_schema(generator), A::json_schema(generator)] {
        if let Some(Value::Object(more)) = part.get("properties") {
            fields.extend(more.clone());
        }
        if let Some(Value::Array(more)) = part.get("required") {
            required.extend(more.iter().cloned());
        }
    }
    both.insert("properties".into(), Value::Object(fields));
    both.insert("required".into(), Value::Array(required));
    Schema::from(both)
}
