//! A chat template.

use card_api::TemplateOptions;
use serde_json::Value;

use super::tokenizer::{END, TURN};
use crate::text::Template;

/// A chat template like ChatML's, with a switch for thinking as Qwen's have it: where thinking
/// is off, the assistant's turn begins with thoughts that are over.
pub struct Turns;

/// The same, where the assistant's turn begins with thoughts unless these are off.
pub(super) struct ThinkingTurns;

/// Thoughts that are over.
const NO_THOUGHTS: &str = "<think>\n\n</think>\n\n";

impl Template for Turns {
    fn render(
        &self,
        messages: &Value,
        tools: Option<&Value>,
        options: &TemplateOptions,
    ) -> Result<String, String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut whole = tools.map(Value::to_string).unwrap_or_default();
        for message in messages.as_array().into_iter().flatten() {
            let (role, content) = (text(&message["role"]), text(&message["content"]));
            whole += &format!("{TURN}{role}\n{content}{END}\n");
        }
        if options.begins_answer {
            whole += TURN;
            whole += "assistant\n";
            if !thinks(options) {
                whole += NO_THOUGHTS;
            }
        }
        Ok(whole)
    }

    fn knows_tools(&self) -> bool {
        true
    }

    fn switches_thinking(&self) -> bool {
        true
    }
}

impl Template for ThinkingTurns {
    fn render(
        &self,
        messages: &Value,
        tools: Option<&Value>,
        options: &TemplateOptions,
    ) -> Result<String, String> {
        let mut whole = Turns.render(messages, tools, options)?;
        if options.begins_answer && thinks(options) {
            whole += "<think>\n";
        }
        Ok(whole)
    }

    fn knows_tools(&self) -> bool {
        true
    }

    fn switches_thinking(&self) -> bool {
        true
    }
}

/// Whether the model thinks: it does where nothing is said.
fn thinks(options: &TemplateOptions) -> bool {
    let asked = options.variables.get("enable_thinking");
    asked
        .and_then(Value::as_bool)
        .or(options.thinking)
        .unwrap_or(true)
}
