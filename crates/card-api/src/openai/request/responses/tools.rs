//! `tools` of a response: functions without a wrapper, and namespaces of functions.

use serde_json::{Value, json};

use super::super::tool_choice::ToolChoice;
use crate::error::ApiError;
use crate::limits;
use crate::offered_tool::OfferedTool;
use crate::reading::loose::Loose;

/// Tools that OpenAI runs and clients offer by default. A model that is not told of them answers
/// without them, as it may; so they are left out.
const LEFT_OUT: [&str; 3] = ["web_search", "web_search_preview", "web_search_2025_08_26"];

/// The tools of a response.
pub(super) struct ResponseTools {
    /// What the model may call.
    pub(super) functions: Vec<OfferedTool>,
    /// The functions that stand in a namespace, with its name.
    pub(super) namespaces: Vec<(String, String)>,
    /// Those of the tools that the model is told of, as the client sent them.
    pub(super) told: Vec<Value>,
}

impl ResponseTools {
    /// Reads the tools.
    ///
    /// # Errors
    /// If one of them is no function, or they are too many.
    pub(super) fn read(tools: Vec<Loose>) -> Result<Self, ApiError> {
        let mut read = ResponseTools {
            functions: Vec::new(),
            namespaces: Vec::new(),
            told: Vec::new(),
        };
        for (i, Loose(tool)) in tools.into_iter().enumerate() {
            let path = format!("tools[{i}]");
            let kind = tool.get("type").and_then(Value::as_str).unwrap_or_default();
            match kind {
                "function" => read.functions.push(function(&tool, &path)?),
                "namespace" => read.namespace(&tool, &path)?,
                kind if LEFT_OUT.contains(&kind) => continue,
                kind => {
                    let why = format!(
                        "tools of type {kind:?} are not supported, only functions, which the \
                         client runs, and namespaces of functions"
                    );
                    return Err(ApiError::field(format!("{path}.type"), why));
                }
            }
            read.told.push(tool);
        }
        read.check()?;
        Ok(read)
    }

    fn namespace(&mut self, tool: &Value, path: &str) -> Result<(), ApiError> {
        let space = name(tool, path)?;
        let within = tool.get("tools").and_then(Value::as_array);
        for (i, tool) in within.into_iter().flatten().enumerate() {
            let path = format!("{path}.tools[{i}]");
            if tool.get("type").and_then(Value::as_str) != Some("function") {
                let why = "a namespace may have functions only";
                return Err(ApiError::field(format!("{path}.type"), why));
            }
            let function = function(tool, &path)?;
            self.namespaces.push((function.name.clone(), space.clone()));
            self.functions.push(function);
        }
        Ok(())
    }

    /// A function is called by its name alone, so within namespaces no name may come twice.
    fn check(&self) -> Result<(), ApiError> {
        if self.functions.len() > limits::TOOLS {
            let why = format!("there are more than {} functions", limits::TOOLS);
            return Err(ApiError::field("tools", why));
        }
        for (name, _) in &self.namespaces {
            if self.functions.iter().filter(|f| f.name == *name).count() > 1 {
                let why = format!("two functions are called {name:?}; give them other names");
                return Err(ApiError::field("tools", why));
            }
        }
        Ok(())
    }
}

/// The function that a tool is.
fn function(tool: &Value, path: &str) -> Result<OfferedTool, ApiError> {
    let wrong = |field: &str, why: &str| Err(ApiError::field(format!("{path}.{field}"), why));
    let description = match tool.get("description") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return wrong("description", "it must be a text"),
    };
    let parameters = match tool.get("parameters") {
        None | Some(Value::Null) => None,
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => Some(schema.clone()),
        Some(_) => return wrong("parameters", "it must be a schema, which is an object"),
    };
    Ok(OfferedTool {
        name: name(tool, path)?,
        parameters,
        description,
    })
}

fn name(tool: &Value, path: &str) -> Result<String, ApiError> {
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() || name.len() > limits::NAME_BYTES {
        let why = format!(
            "every tool needs a name of 1 to {} bytes",
            limits::NAME_BYTES
        );
        return Err(ApiError::field(format!("{path}.name"), why));
    }
    Ok(name.to_owned())
}

/// The choice as the answer repeats it.
pub(super) fn answered_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Word(word) => word.as_str().into(),
        ToolChoice::Function(name) => json!({ "type": "function", "name": name }),
    }
}
