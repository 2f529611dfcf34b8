//! `/v1/messages`: the events of a stream.
//!
//! A stream begins with `message_start` and ends with `message_stop`. Between them each block has
//! a `content_block_start`, deltas and a `content_block_stop`; behind the last block
//! `message_delta` says why the answer ended. An `error` is the end, wherever it comes.

use schemars::JsonSchema;
use serde::Serialize;

use super::error::ErrorDetail;
use super::message::{ContentBlock, MessageAnswer, MessageUsage, StopReason};

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamEvent {
    /// The answer begins.
    MessageStart {
        /// The answer, still empty.
        message: MessageAnswer,
    },
    /// A block begins.
    ContentBlockStart {
        /// Its number, from 0.
        index: usize,
        /// The block, still empty.
        content_block: ContentBlock,
    },
    /// A block goes on.
    ContentBlockDelta {
        /// Its number.
        index: usize,
        /// What is new.
        delta: BlockDelta,
    },
    /// A block ends.
    ContentBlockStop {
        /// Its number.
        index: usize,
    },
    /// The connection is open still.
    Ping,
    /// The answer is whole.
    MessageDelta {
        /// Why it ended.
        delta: MessageEnd,
        /// Tokens that were read and written.
        usage: MessageUsage,
    },
    /// The stream ends.
    MessageStop,
    /// The request failed, and the stream ends.
    Error {
        /// What went wrong.
        error: ErrorDetail,
    },
}

impl StreamEvent {
    /// The event's name, which is its type too.
    pub fn name(&self) -> &'static str {
        match self {
            StreamEvent::MessageStart { .. } => "message_start",
            StreamEvent::ContentBlockStart { .. } => "content_block_start",
            StreamEvent::ContentBlockDelta { .. } => "content_block_delta",
            StreamEvent::ContentBlockStop { .. } => "content_block_stop",
            StreamEvent::Ping => "ping",
            StreamEvent::MessageDelta { .. } => "message_delta",
            StreamEvent::MessageStop => "message_stop",
            StreamEvent::Error { .. } => "error",
        }
    }

    /// The event as JSON.
    pub fn json(&self) -> String {
        // Texts and numbers are JSON whatever they are.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What is new in a block.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockDelta {
    /// More text.
    TextDelta {
        /// The text.
        text: String,
    },
    /// More thoughts.
    ThinkingDelta {
        /// The thoughts.
        thinking: String,
    },
    /// The end of thoughts.
    SignatureDelta {
        /// Always empty.
        signature: String,
    },
    /// Arguments of a call.
    InputJsonDelta {
        /// A part of their JSON.
        partial_json: String,
    },
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MessageEnd {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// The text of `stop_sequences` that ended it.
    pub stop_sequence: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn an_event_s_name_is_its_type() {
        let message = MessageAnswer::begun("i".to_owned(), "m".to_owned(), 1);
        let block = ContentBlock::Text {
            text: String::new(),
        };
        let delta = BlockDelta::TextDelta {
            text: "a".to_owned(),
        };
        let end = MessageEnd {
            stop_reason: StopReason::EndTurn,
            stop_sequence: None,
        };
        let error = ErrorDetail {
            kind: "api_error".to_owned(),
            message: "m".to_owned(),
        };
        let events = [
            StreamEvent::MessageStart { message },
            StreamEvent::ContentBlockStart {
                index: 0,
                content_block: block,
            },
            StreamEvent::ContentBlockDelta { index: 0, delta },
            StreamEvent::ContentBlockStop { index: 0 },
            StreamEvent::Ping,
            StreamEvent::MessageDelta {
                delta: end,
                usage: MessageUsage::default(),
            },
            StreamEvent::MessageStop,
            StreamEvent::Error { error },
        ];
        for event in events {
            let json: Value = serde_json::from_str(&event.json()).unwrap();
            assert_eq!(json["type"], event.name());
        }
    }
}
