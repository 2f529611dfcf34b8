//! `tools`: what the model may call.

use crate::error::ApiError;
use crate::offered_tool::OfferedTool;
use crate::reading::bounded::{Bounded, Name};
use crate::reading::fields::fields;
use crate::reading::loose::Loose;
use crate::reading::strict::{Anything, Noted};

/// Most examples of a tool's arguments.
const EXAMPLES: usize = 64;

fields! {
    /// A tool of the client's.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct ToolParam {
        /// Its name.
        #[schemars(required)]
        "name" => name: Name,
        /// What it does.
        "description" => description: String,
        /// A JSON Schema of its arguments.
        #[schemars(required)]
        "input_schema" => input_schema: Loose,
        /// `custom`, which is the default. Tools that Anthropic defines are not supported.
        #[schemars(rename = "type")]
        "type" => kind: Name,
        /// Examples of arguments; the model reads them with the description.
        "input_examples" => input_examples: Bounded<Loose, EXAMPLES>,
        /// A call that is forced by `tool_choice` follows the schema; others are not checked.
        "strict" => strict: Anything,
        /// Tools that are searched for when they are needed are not supported.
        "defer_loading" => defer_loading: bool,
        /// `direct`, and no more.
        "allowed_callers" => allowed_callers: Bounded<Name, EXAMPLES>,
        /// Without effect.
        "eager_input_streaming" => eager_input_streaming: Anything,
        /// Without effect.
        "cache_control" => cache_control: Anything,
    }
}

/// Tool number `i`, if it is one of the client's.
///
/// # Errors
/// If it is none, or lacks what every tool needs.
pub(super) fn check_tool(i: usize, tool: Noted<ToolParam>) -> Result<OfferedTool, ApiError> {
    let Noted {
        fields: tool,
        unknown,
    } = tool;
    let wrong = |field: &str, why: &str| {
        let path = format!("tools[{i}].{field}");
        Err(ApiError::field(path, why))
    };
    let kind = tool.kind.map_or("custom".to_owned(), |kind| kind.0);
    if kind != "custom" {
        let why = format!(
            "tools of type {kind:?} are Anthropic's own and not supported; offer a tool of your \
             own, with a name and an input_schema"
        );
        return wrong("type", &why);
    }
    if let Some(field) = unknown {
        return wrong(&field, "there is no such field; leave it out");
    }
    let name = tool.name.map(|name| name.0).unwrap_or_default();
    if name.is_empty() {
        return wrong("name", "every tool needs a name");
    }
    let Some(schema) = tool.input_schema.map(|schema| schema.0) else {
        return wrong("input_schema", "every tool needs a schema of its arguments");
    };
    if !schema.is_object() {
        return wrong("input_schema", "the schema must be an object");
    }
    if tool.defer_loading.unwrap_or(false) {
        return wrong(
            "defer_loading",
            "tools are not searched for; send it without",
        );
    }
    let callers = tool.allowed_callers.map(|all| all.0).unwrap_or_default();
    if callers.iter().any(|caller| caller.0 != "direct") {
        return wrong(
            "allowed_callers",
            "only the model itself calls tools, `direct`",
        );
    }
    let examples = tool.input_examples.map(|all| all.0).unwrap_or_default();
    Ok(OfferedTool {
        name,
        description: described(tool.description, &examples),
        parameters: Some(schema),
    })
}

/// The description with examples of arguments.
fn described(description: Option<String>, examples: &[Loose]) -> Option<String> {
    if examples.is_empty() {
        return description;
    }
    let mut lines = Vec::from_iter(description);
    lines.push("Examples of arguments:".to_owned());
    lines.extend(examples.iter().map(|example| example.0.to_string()));
    Some(lines.join("\n"))
}
