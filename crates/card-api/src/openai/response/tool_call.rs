//! A call of a tool, as answers have it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ToolCall {
    /// Its name, for the answer to it.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
    /// Its number, in streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
}

impl ToolCall {
    /// A call of the function `name`; `index` in streams only.
    pub fn new(id: String, index: Option<usize>, name: &str, arguments: &str) -> Self {
        ToolCall {
            id,
            kind: "function".to_owned(),
            function: FunctionCall {
                name: name.to_owned(),
                arguments: arguments.to_owned(),
            },
            index,
        }
    }
}

/// A piece of a call of a tool, in a stream. The first one has the names; the arguments of all
/// put together are those of the call.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ToolCallPiece {
    /// The number of the call.
    pub index: usize,
    /// Its name, for the answer to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is called.
    pub function: FunctionPiece,
}

/// A piece of a function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FunctionPiece {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of its arguments, JSON as text.
    pub arguments: String,
}

/// A function and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// Its arguments, JSON as text.
    pub arguments: String,
}

/// A call of the function `name` as JSON; `index` in streams only.
pub fn call_object(id: &str, index: Option<usize>, name: &str, arguments: &str) -> Value {
    let call = ToolCall::new(id.to_owned(), index, name, arguments);
    // Texts and a number are JSON whatever they are.
    serde_json::to_value(call).unwrap_or_default()
}
