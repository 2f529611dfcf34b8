//! `tool_choice`: whether a tool has to be called, and which.

use crate::error::ApiError;
use crate::offered_tool::OfferedTool;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;

fields! {
    /// Whether a tool has to be called.
    struct ToolChoiceParam {
        /// `auto`, `any`, `tool` or `none`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The tool that has to be called, of type `tool`.
        "name" => name: Name,
        /// Whether at most one tool is called; what the model writes behind its first call is
        /// left out.
        "disable_parallel_tool_use" => disable_parallel_tool_use: bool,
    }
}

/// Which tools the model may call, and which of them it has to.
pub(super) struct ToolsInUse {
    /// What the model may call; none with `none`.
    pub(super) offered: Vec<OfferedTool>,
    /// One of these has to be called, if there are some: their place among the offered.
    pub(super) forced: std::ops::Range<usize>,
    /// Whether at most one is called.
    pub(super) one_call: bool,
}

/// The tools as `choice` has them.
///
/// # Errors
/// If there is no such tool, or no such choice.
pub(super) fn choose(
    choice: Option<ToolChoiceParam>,
    offered: Vec<OfferedTool>,
) -> Result<ToolsInUse, ApiError> {
    let choice = choice.unwrap_or_default();
    let wrong = |field: &str, why: &str| Err(ApiError::field(format!("tool_choice.{field}"), why));
    let kind = choice.kind.map_or("auto".to_owned(), |kind| kind.0);
    let one_call = choice.disable_parallel_tool_use.unwrap_or(false);
    if kind != "tool" && choice.name.is_some() {
        return wrong("name", "only a choice of type tool has a name");
    }
    let forced = match kind.as_str() {
        "auto" => 0..0,
        "none" => {
            return Ok(ToolsInUse {
                offered: Vec::new(),
                forced: 0..0,
                one_call,
            });
        }
        "any" if offered.is_empty() => return wrong("type", "there are no tools to choose"),
        "any" => 0..offered.len(),
        "tool" => {
            let Some(name) = choice.name else {
                return wrong("name", "a choice of type tool needs the tool's name");
            };
            match offered.iter().position(|tool| tool.name == name.0) {
                Some(at) => at..at + 1,
                None => return wrong("name", &format!("there is no tool {:?}", name.0)),
            }
        }
        other => return wrong("type", &format!("{other:?} is not auto, any, tool or none")),
    };
    Ok(ToolsInUse {
        offered,
        forced,
        one_call,
    })
}
