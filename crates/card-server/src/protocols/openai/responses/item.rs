//! An item of an answer as it is written.

use serde_json::{Value, json};

/// An item that is not over yet.
pub(super) struct OpenItem {
    /// Its id.
    pub(super) id: String,
    /// What it is.
    pub(super) kind: TextKind,
    /// Its text so far.
    pub(super) text: String,
    /// The log probabilities of its tokens so far.
    pub(super) logprobs: Vec<Value>,
}

/// What an item is that has text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKind {
    /// Text for the reader.
    Message,
    /// What the model thinks.
    Reasoning,
}

/// The names of the events of a text.
pub(super) struct TextEvents {
    /// More text.
    pub(super) delta: &'static str,
    /// The whole text.
    pub(super) done: &'static str,
}

impl TextKind {
    /// What ids of such items begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            TextKind::Message => "msg",
            TextKind::Reasoning => "rs",
        }
    }

    /// The names of its events.
    pub(super) fn events(self) -> TextEvents {
        match self {
            TextKind::Message => TextEvents {
                delta: "response.output_text.delta",
                done: "response.output_text.done",
            },
            TextKind::Reasoning => TextEvents {
                delta: "response.reasoning_text.delta",
                done: "response.reasoning_text.done",
            },
        }
    }

    /// A part of such an item.
    pub(super) fn part(self, text: &str, logprobs: &[Value]) -> Value {
        match self {
            TextKind::Message => json!({
                "type": "output_text",
                "text": text,
                "annotations": [],
                "logprobs": logprobs,
            }),
            TextKind::Reasoning => json!({ "type": "reasoning_text", "text": text }),
        }
    }

    /// An item with these parts.
    pub(super) fn item(self, id: &str, status: &str, content: &[Value]) -> Value {
        match self {
            TextKind::Message => json!({
                "id": id,
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": content,
            }),
            TextKind::Reasoning => json!({
                "id": id,
                "type": "reasoning",
                "status": status,
                "summary": [],
                "content": content,
                "encrypted_content": null,
            }),
        }
    }
}

/// A call of a function that is not over yet.
pub(super) struct OpenCallItem {
    /// The id of the item.
    pub(super) id: String,
    /// The name of the call, for what it gives.
    pub(super) call_id: String,
    /// What is called.
    pub(super) name: String,
    /// The namespace in which the function stands, if it does in one.
    pub(super) namespace: Option<String>,
    /// Its arguments so far.
    pub(super) arguments: String,
}

impl OpenCallItem {
    /// The item as far as it is written.
    pub(super) fn item(&self, status: &str) -> Value {
        let mut item = json!({
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
        });
        if let Some(namespace) = &self.namespace {
            item["namespace"] = namespace.as_str().into();
        }
        item
    }
}
