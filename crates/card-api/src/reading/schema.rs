//! The schema of an object whose fields two types read.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use super::refused::OtherFields;

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

/// A description of the body of a path, with the known fields that are not done.
pub(crate) fn described<T: OtherFields>(about: &str) -> String {
    let refused = T::REFUSED.iter().copied().flatten().map(|f| f.name);
    let ignored = T::WITHOUT_EFFECT.iter().copied().flatten().map(|f| f.0);
    let list = |names: Vec<&str>| names.join(", ");
    format!(
        "{about} Refused by name: {}. Without effect: {}.",
        list(refused.collect()),
        list(ignored.collect())
    )
}
