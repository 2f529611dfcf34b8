//! What models of each family write, and what is meant by it. The forms are those of the families'
//! chat templates and of llama.cpp's tests of them; the words are our own.

use std::sync::Arc;

use card_api::OfferedFunction;
use card_api::answer_format::AnswerFormat;
use card_api::answer_parts::{AnswerReader, ReadAs, SpokenPart, Thinking};
use serde::Deserialize;
use serde_json::{Value, json};

/// An answer, and what it says.
#[derive(Debug, Deserialize)]
pub struct Conversation {
    /// The name of the family's format.
    pub family: String,
    /// Words of a chat template of the family.
    template: String,
    /// Whether the prompt ends within the thoughts.
    began: bool,
    /// Whether there are tools.
    tools: bool,
    /// What the model writes.
    pub text: String,
    #[serde(flatten)]
    pub told: Told,
}

/// What an answer says.
#[derive(Debug, Default, Deserialize, PartialEq)]
pub struct Told {
    thought: String,
    content: String,
    /// The name and the arguments of each call.
    pub calls: Vec<(String, Value)>,
}

/// All conversations.
pub fn all() -> Vec<Conversation> {
    serde_json::from_str(include_str!("conversations.json")).expect("conversations")
}

/// The tools that may be called in all of them.
fn tools() -> Arc<[OfferedFunction]> {
    let any_text = json!({ "type": ["string", "null"] });
    [
        (
            "weather",
            json!({ "city": { "type": "string" } }),
            &["city"][..],
        ),
        (
            "add",
            json!({ "a": { "type": "number" }, "b": { "type": "number" } }),
            &["a", "b"],
        ),
        (
            "note",
            json!({ "text": { "type": "string" }, "tags": { "type": "array" } }),
            &["text"],
        ),
        ("find", json!({ "what": any_text, "where": {} }), &[]),
        ("now", json!({}), &[]),
    ]
    .into_iter()
    .map(|(name, properties, required)| OfferedFunction {
        name: name.to_owned(),
        parameters: Some(json!({
            "type": "object",
            "properties": properties,
            "required": required,
        })),
    })
    .collect()
}

impl Conversation {
    /// The format of the family, as it is found by a template.
    pub fn format(&self) -> &'static AnswerFormat {
        let format = AnswerFormat::of_template(&self.template);
        assert_eq!(format.name(), self.family, "{}", self.template);
        format
    }

    /// The parts of the answer that comes in pieces of so many characters.
    pub fn parts(&self, size: usize, whole_calls: bool) -> Vec<SpokenPart> {
        let mut reader = AnswerReader::read_as(ReadAs {
            format: self.format(),
            call_format: self.format(),
            thinking: if self.began {
                Thinking::Began
            } else {
                Thinking::MayBegin
            },
            offered: self.tools.then(tools),
            whole_calls,
            forced_call: false,
            one_call: false,
        });
        let characters: Vec<char> = self.text.chars().collect();
        let pieces = characters.chunks(size.min(characters.len()));
        let mut parts: Vec<SpokenPart> = pieces
            .flat_map(|piece| reader.push(piece.iter().collect()))
            .collect();
        parts.extend(reader.finish());
        parts
    }

    /// What the answer says that comes in pieces of so many characters.
    pub fn read(&self, size: usize, whole_calls: bool) -> Told {
        let mut told = Told::default();
        let mut texts: Vec<String> = Vec::new();
        for part in self.parts(size, whole_calls) {
            match part {
                SpokenPart::Thought(text) => told.thought += &text,
                SpokenPart::Text(text) => told.content += &text,
                SpokenPart::Call { name, arguments } => {
                    told.calls.push((name, Value::Null));
                    texts.push(arguments);
                }
                SpokenPart::CallBegin { name } => {
                    told.calls.push((name, Value::Null));
                    texts.push(String::new());
                }
                SpokenPart::CallMore(text) => texts.last_mut().expect("a call").push_str(&text),
                SpokenPart::CallEnd => {}
            }
        }
        for (call, text) in told.calls.iter_mut().zip(texts) {
            call.1 = serde_json::from_str(&text).unwrap_or(Value::from(text));
        }
        told
    }
}
