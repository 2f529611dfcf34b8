//! `/v1/messages`: the whole answer.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The answer to a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MessageAnswer {
    /// Name of the answer.
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `assistant`.
    pub role: String,
    /// Name of the model.
    pub model: String,
    /// What the model thinks, says and calls.
    pub content: Vec<ContentBlock>,
    /// Why it ended; null while it goes on.
    pub stop_reason: Option<StopReason>,
    /// The text of `stop_sequences` that ended it.
    pub stop_sequence: Option<String>,
    /// Tokens that were read and written.
    pub usage: MessageUsage,
}

impl MessageAnswer {
    /// An answer that is still empty. Its prompt has so many tokens.
    pub fn begun(id: String, model: String, prompt_tokens: usize) -> Self {
        MessageAnswer {
            id,
            kind: "message".to_owned(),
            role: "assistant".to_owned(),
            model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: MessageUsage {
                input_tokens: prompt_tokens,
                ..MessageUsage::default()
            },
        }
    }
}

/// A block of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought before it answered.
    Thinking {
        /// The thoughts; empty where the client does not want to see them.
        thinking: String,
        /// Always empty: thoughts are taken back as they are.
        signature: String,
    },
    /// A call of a tool.
    ToolUse {
        /// Its name, for the result.
        id: String,
        /// The tool.
        name: String,
        /// The arguments.
        input: Map<String, Value>,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended it.
    EndTurn,
    /// There was no more room for it.
    MaxTokens,
    /// A text of `stop_sequences` ended it.
    StopSequence,
    /// It calls tools.
    ToolUse,
}

/// Tokens that were read and written. The prompt has `input_tokens` and
/// `cache_read_input_tokens` together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MessageUsage {
    /// Tokens of the prompt that were read for this request.
    pub input_tokens: usize,
    /// Always 0: keeping what was read costs nothing.
    pub cache_creation_input_tokens: usize,
    /// Tokens of the prompt that earlier requests had read.
    pub cache_read_input_tokens: usize,
    /// Tokens of the answer.
    pub output_tokens: usize,
}

/// How many tokens a prompt has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TokenCount {
    /// Tokens of the prompt, with what the chat template adds.
    pub input_tokens: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_say_of_what_type_they_are() {
        let call = ContentBlock::ToolUse {
            id: "t".to_owned(),
            name: "f".to_owned(),
            input: Map::new(),
        };
        let wanted = json!({ "type": "tool_use", "id": "t", "name": "f", "input": {} });
        assert_eq!(serde_json::to_value(call).ok(), Some(wanted));
    }
}
