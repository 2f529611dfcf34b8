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
