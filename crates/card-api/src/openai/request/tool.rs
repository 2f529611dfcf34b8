//! `tools`: the functions that a model may call.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::job::OfferedFunction;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;

fields! {
    /// A tool.
    struct Tool {
        /// `function`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The function.
        #[schemars(required)]
        "function" => function: Function,
    }

    /// A function that can be called.
    struct Function {
        /// Its name.
        #[schemars(required)]
        "name" => name: Name,
        /// What it does.
        "description" => description: String,
        /// A JSON Schema of its arguments.
        "parameters" => parameters: Loose,
    }
}

/// A function that can be called. Its name is not empty.
pub(super) struct CheckedFunction {
    /// The name by which it is called.
    pub(super) name: String,
    /// The schema of its arguments, if the client gave one.
    pub(super) parameters: Option<Value>,
    /// What it does, in the client's words.
    pub(super) description: Option<String>,
}

impl Tool {
    /// Tool number `i`, if it is a function.
    ///
    /// # Errors
    /// If it is no function, or has no name.
    pub(super) fn check(self, i: usize) -> Result<CheckedFunction, ApiError> {
        let field = |name: &str| format!("tools[{i}].{name}");
        let kind = self.kind.map(|k| k.0).unwrap_or_default();
        if kind != "function" {
            let why = format!("tools of type {kind:?} are not supported, only functions");
            return Err(ApiError::field(field("type"), why));
        }
        let Some(function) = self.function else {
            return Err(ApiError::field(
                field("function"),
                "there must be a function",
            ));
        };
        function.check(&field("function"))
    }
}

impl Function {
    /// The function that stands at `path`.
    ///
    /// # Errors
    /// If it has no name.
    pub(super) fn check(self, path: &str) -> Result<CheckedFunction, ApiError> {
        let name = self.name.map(|n| n.0).unwrap_or_default();
        if name.is_empty() {
            let why = "every function needs a name";
            return Err(ApiError::field(format!("{path}.name"), why));
        }
        Ok(CheckedFunction {
            name,
            description: self.description,
            parameters: self.parameters.map(|p| p.0),
        })
    }
}

impl CheckedFunction {
    /// What is known of the function when its calls are looked for.
    pub(super) fn offered(&self) -> OfferedFunction {
        OfferedFunction {
            name: self.name.clone(),
            parameters: self.parameters.clone(),
        }
    }

    /// The tool as templates take it.
    pub(super) fn value(self) -> Value {
        let mut function = Map::new();
        function.insert("name".into(), self.name.into());
        if let Some(description) = self.description {
            function.insert("description".into(), description.into());
        }
        if let Some(parameters) = self.parameters {
            function.insert("parameters".into(), parameters);
        }
        let mut tool = Map::new();
        tool.insert("type".into(), "function".into());
        tool.insert("function".into(), Value::Object(function));
        Value::Object(tool)
    }
}
