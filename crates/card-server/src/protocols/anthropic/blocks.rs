//! The blocks of an answer: collected, or as the events that they are sent by.

use card_api::answer_parts::SpokenPart;
use card_api::anthropic::response::event::{BlockDelta, StreamEvent};
use card_api::anthropic::response::message::ContentBlock;
use card_api::call_arguments::object_of;
use serde_json::{Map, Value};

/// The name of call number `call` of a request.
fn call_id(request: &str, call: usize) -> String {
    format!("toolu_{request}_{call}")
}

/// Collects the blocks of an answer that is sent as a whole.
#[derive(Default)]
pub(super) struct CollectedBlocks {
    blocks: Vec<ContentBlock>,
    /// The name and the arguments so far of a call that has begun and not ended.
    begun: Option<(String, String)>,
    calls: usize,
}

impl CollectedBlocks {
    /// Takes a part of the answer to `request`.
    pub(super) fn take(&mut self, part: SpokenPart, request: &str) {
        match part {
            SpokenPart::Text(more) => match self.blocks.last_mut() {
                Some(ContentBlock::Text { text }) => text.push_str(&more),
                _ => self.blocks.push(ContentBlock::Text { text: more }),
            },
            SpokenPart::Thought(more) => match self.blocks.last_mut() {
                Some(ContentBlock::Thinking { thinking, .. }) => thinking.push_str(&more),
                _ => self.blocks.push(ContentBlock::Thinking {
                    thinking: more,
                    signature: String::new(),
                }),
            },
            SpokenPart::Call { name, arguments } => {
                self.blocks.push(ContentBlock::ToolUse {
                    id: call_id(request, self.calls),
                    name,
                    input: object_of(&arguments),
                });
                self.calls += 1;
            }
            SpokenPart::CallBegin { name } => self.begun = Some((name, String::new())),
            SpokenPart::CallMore(more) => {
                if let Some((_, arguments)) = &mut self.begun {
                    arguments.push_str(&more);
                }
            }
            SpokenPart::CallEnd => {
                if let Some((name, arguments)) = self.begun.take() {
                    self.take(SpokenPart::Call { name, arguments }, request);
                }
            }
        }
    }

    /// The blocks.
    pub(super) fn blocks(self) -> Vec<ContentBlock> {
        self.blocks
    }
}

/// Of what kind the block is that is being sent.
#[derive(Clone, Copy, PartialEq)]
enum OpenBlock {
    Text,
    Thinking,
    Call,
}

/// Makes events of the parts of an answer. Blocks are numbered from 0, and one ends before the
/// next begins.
#[derive(Default)]
pub(super) struct BlockEvents {
    /// The block that has begun and not ended; its number is `begun - 1`.
    open: Option<OpenBlock>,
    /// Blocks that have begun.
    begun: usize,
    calls: usize,
}

impl BlockEvents {
    /// Takes a part of the answer to `request`; returns the events that send it.
    pub(super) fn take(&mut self, part: SpokenPart, request: &str) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        match part {
            SpokenPart::Text(text) => {
                self.open_text(&mut events);
                events.push(self.delta(BlockDelta::TextDelta { text }));
            }
            SpokenPart::Thought(thinking) => {
                self.open_thoughts(&mut events);
                if !thinking.is_empty() {
                    events.push(self.delta(BlockDelta::ThinkingDelta { thinking }));
                }
            }
            SpokenPart::Call { name, arguments } => {
                self.begin_call(name, request, &mut events);
                let partial_json = Value::Object(object_of(&arguments)).to_string();
                events.push(self.delta(BlockDelta::InputJsonDelta { partial_json }));
                self.close(&mut events);
            }
            SpokenPart::CallBegin { name } => self.begin_call(name, request, &mut events),
            SpokenPart::CallMore(partial_json) => {
                events.push(self.delta(BlockDelta::InputJsonDelta { partial_json }));
            }
            SpokenPart::CallEnd => self.close(&mut events),
        }
        events
    }

    /// The end of the last block.
    pub(super) fn finish(&mut self) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        self.close(&mut events);
        events
    }

    /// Sees that a block of text is open.
    fn open_text(&mut self, events: &mut Vec<StreamEvent>) {
        if self.open != Some(OpenBlock::Text) {
            let text = String::new();
            self.open(OpenBlock::Text, ContentBlock::Text { text }, events);
        }
    }

    /// Sees that a block of thoughts is open.
    fn open_thoughts(&mut self, events: &mut Vec<StreamEvent>) {
        if self.open != Some(OpenBlock::Thinking) {
            let block = ContentBlock::Thinking {
                thinking: String::new(),
                signature: String::new(),
            };
            self.open(OpenBlock::Thinking, block, events);
        }
    }

    /// Begins the block of a call.
    fn begin_call(&mut self, name: String, request: &str, events: &mut Vec<StreamEvent>) {
        let block = ContentBlock::ToolUse {
            id: call_id(request, self.calls),
            name,
            input: Map::new(),
        };
        self.calls += 1;
        self.open(OpenBlock::Call, block, events);
    }

    /// Begins a block behind the one that is open.
    fn open(&mut self, kind: OpenBlock, block: ContentBlock, events: &mut Vec<StreamEvent>) {
        self.close(events);
        events.push(self.begin(block));
        self.open = Some(kind);
    }

    /// Sees that no block is open.
    fn close(&mut self, events: &mut Vec<StreamEvent>) {
        let Some(kind) = self.open.take() else {
            return;
        };
        if kind == OpenBlock::Thinking {
            let signature = String::new();
            events.push(self.delta(BlockDelta::SignatureDelta { signature }));
        }
        events.push(self.stop());
    }

    fn begin(&mut self, content_block: ContentBlock) -> StreamEvent {
        let index = self.begun;
        self.begun += 1;
        StreamEvent::ContentBlockStart {
            index,
            content_block,
        }
    }

    /// The number of the block that began last.
    fn last(&self) -> usize {
        self.begun.saturating_sub(1)
    }

    fn delta(&self, delta: BlockDelta) -> StreamEvent {
        StreamEvent::ContentBlockDelta {
            index: self.last(),
            delta,
        }
    }

    fn stop(&self) -> StreamEvent {
        StreamEvent::ContentBlockStop { index: self.last() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Vec<SpokenPart> {
        let text = |text: &str| SpokenPart::Text(text.to_owned());
        let thought = |text: &str| SpokenPart::Thought(text.to_owned());
        let call = |name: &str, arguments: &str| SpokenPart::Call {
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        };
        vec![
            thought("Hm"),
            thought("."),
            text("I "),
            text("look."),
            call("f", "{\"a\":1}"),
            call("g", "{}"),
            text("Done."),
        ]
    }

    #[test]
    fn events_come_in_order_and_are_numbered() {
        let mut blocks = BlockEvents::default();
        let mut events: Vec<StreamEvent> = answer()
            .into_iter()
            .flat_map(|part| blocks.take(part, "7"))
            .collect();
        events.extend(blocks.finish());
        let told: Vec<(String, Value)> = events
            .iter()
            .map(|event| {
                let json: Value = serde_json::from_str(&event.json()).unwrap();
                let what = match event {
                    StreamEvent::ContentBlockStart { .. } => &json["content_block"]["type"],
                    StreamEvent::ContentBlockDelta { .. } => &json["delta"]["type"],
                    _ => &json["type"],
                };
                (what.as_str().unwrap().to_owned(), json["index"].clone())
            })
            .collect();
        let wanted = [
            ("thinking", 0),
            ("thinking_delta", 0),
            ("thinking_delta", 0),
            ("signature_delta", 0),
            ("content_block_stop", 0),
            ("text", 1),
            ("text_delta", 1),
            ("text_delta", 1),
            ("content_block_stop", 1),
            ("tool_use", 2),
            ("input_json_delta", 2),
            ("content_block_stop", 2),
            ("tool_use", 3),
            ("input_json_delta", 3),
            ("content_block_stop", 3),
            ("text", 4),
            ("text_delta", 4),
            ("content_block_stop", 4),
        ];
        let wanted = wanted.map(|(what, index)| (what.to_owned(), json!(index)));
        assert_eq!(told, wanted);
    }

    #[test]
    fn the_whole_answer_has_the_blocks_of_the_stream() {
        let mut collected = CollectedBlocks::default();
        for part in answer() {
            collected.take(part, "7");
        }
        let blocks = serde_json::to_value(collected.blocks()).unwrap();
        let wanted = json!([
            { "type": "thinking", "thinking": "Hm.", "signature": "" },
            { "type": "text", "text": "I look." },
            { "type": "tool_use", "id": "toolu_7_0", "name": "f", "input": { "a": 1 } },
            { "type": "tool_use", "id": "toolu_7_1", "name": "g", "input": {} },
            { "type": "text", "text": "Done." },
        ]);
        assert_eq!(blocks, wanted);
    }

    #[test]
    fn a_call_comes_piece_by_piece() {
        let begin = SpokenPart::CallBegin {
            name: "f".to_owned(),
        };
        let more = |text: &str| SpokenPart::CallMore(text.to_owned());
        let parts = [begin, more("{\"a\""), more(":1}"), SpokenPart::CallEnd];
        let mut blocks = BlockEvents::default();
        let mut names = Vec::new();
        for part in parts.clone() {
            names.extend(blocks.take(part, "7").iter().map(StreamEvent::name));
        }
        let wanted = [
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
        ];
        assert_eq!(names, wanted);
        assert!(blocks.finish().is_empty());
        let mut collected = CollectedBlocks::default();
        for part in parts {
            collected.take(part, "7");
        }
        let blocks = serde_json::to_value(collected.blocks()).unwrap();
        let call =
            json!({ "type": "tool_use", "id": "toolu_7_0", "name": "f", "input": { "a": 1 } });
        assert_eq!(blocks, json!([call]));
    }
}
