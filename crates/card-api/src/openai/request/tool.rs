//! `tools`: the functions that a model may call.

use crate::error::ApiError;
use crate::offered_tool::OfferedTool;
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

impl Tool {
    /// Tool number `i`, if it is a function.
    ///
    /// # Errors
    /// If it is no function, or has no name.
    pub(super) fn check(self, i: usize) -> Result<OfferedTool, ApiError> {
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
    pub(super) fn check(self, path: &str) -> Result<OfferedTool, ApiError> {
        let name = self.name.map(|n| n.0).unwrap_or_default();
        if name.is_empty() {
            let why = "every function needs a name";
            return Err(ApiError::field(format!("{path}.name"), why));
        }
        Ok(OfferedTool {
            name,
            description: self.description,
            parameters: self.parameters.map(|p| p.0),
        })
    }
}
