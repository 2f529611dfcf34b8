//! What a request may demand of the text.

use serde_json::Value;

/// What a text has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Some JSON object.
    Object,
    /// JSON of this schema.
    Schema(Value),
    /// A call of one of these functions (name, schema of its arguments), in the words of
    /// models that write `<tool_call>`.
    Call(Vec<(String, Value)>),
}

impl Shape {
    /// The schemas in it, as the client sent them.
    pub fn schemas(&self) -> impl Iterator<Item = &Value> {
        let (one, many) = match self {
            Shape::Object => (None, &[][..]),
            Shape::Schema(schema) => (Some(schema), &[][..]),
            Shape::Call(functions) => (None, &functions[..]),
        };
        one.into_iter().chain(many.iter().map(|(_, schema)| schema))
    }
}
