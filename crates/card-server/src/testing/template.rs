//! A chat template.

use serde_json::Value;

use super::tokenizer::{END, TURN};
use crate::text::Template;

/// A chat template like ChatML's.
pub struct Turns;

impl Template for Turns {
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
