//! A chat template.

use serde_json::Value;

use super::tokenizer::{END, TURN};
use crate::text::Template;

/// A chat template like ChatML's, with a switch for thinking as Qwen's have it: where thinking
/// is off, the assistant's turn begins with thoughts that are over.
pub struct Turns;

/// Thoughts that are over.
const NO_THOUGHTS: &str = "<think>\n\n</think>\n\n";

impl Template for Turns {
    fn switches_thinking(&self) -> bool {
        true
    }

    fn render_thinking(
        &self,
        messages: &Value,
        tools: Option<&Value>,
        thinking: bool,
    ) -> Result<String, String> {
        let text = self.render(messages, tools)?;
        Ok(if thinking { text } else { text + NO_THOUGHTS })
    }

    fn render(&self, messages: &Value, tools: Option<&Value>) -> Result<String, String> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut whole = tools.map(Value::to_string).unwrap_or_default();
        for message in messages.as_array().into_iter().flatten() {
            let (role, content) = (text(&message["role"]), text(&message["content"]));
            whole += &format!("{TURN}{role}\n{content}{END}\n");
        }
        Ok(whole + TURN + "assistant\n")
    }

    fn knows_tools(&self) -> bool {
        true
    }
}
