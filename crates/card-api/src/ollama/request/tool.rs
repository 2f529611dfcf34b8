//! `tools`: what the model may call.

use crate::error::ApiError;
use crate::offered_tool::OfferedTool;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;
use crate::reading::strict::Strict;

fields! {
    /// A tool.
    struct OllamaTool {
        /// `function`, which is the default.
        #[schemars(rename = "type")]
        "type" => kind: Name,
        /// The function.
        #[schemars(required)]
        "function" => function: Strict<OllamaFunction>,
    }

    /// A function that can be called.
    struct OllamaFunction {
        /// Its name.
        #[schemars(required)]
        "name" => name: Name,
        /// What it does.
        "description" => description: String,
        /// A JSON Schema of its arguments.
        "parameters" => parameters: Loose,
    }
}

impl OllamaTool {
    /// Tool number `i`, if it is a function with a name.
    ///
    /// # Errors
    /// If it is not.
    pub(super) fn check(self, i: usize) -> Result<OfferedTool, ApiError> {
        let wrong = |field: &str, why: &str| {
            let path = format!("tools[{i}].{field}");
            Err(ApiError::field(path, why))
        };
        if self.kind.is_some_and(|kind| kind.0 != "function") {
            return wrong("type", "only functions can be called");
        }
        let Some(Strict(function)) = self.function else {
            return wrong("function", "there must be a function");
        };
        let name = function.name.map(|name| name.0).unwrap_or_default();
        if name.is_empty() {
            return wrong("function.name", "every function needs a name");
        }
        Ok(OfferedTool {
            name,
            description: function.description,
            parameters: function.parameters.map(|parameters| parameters.0),
        })
    }
}
