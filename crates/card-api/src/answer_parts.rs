//! A model's text as clients get it: thoughts, text and calls of tools, told apart as the text
//! streams.

use std::sync::Arc;

use crate::bare_call::BareCallFinder;
use crate::job::OfferedFunction;
use crate::thoughts::{ThoughtSplitter, Told};
use crate::tool_calls::{AnswerPart, ToolCallSplitter};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum SpokenPart {
    /// More of what the model thinks before it answers.
    Thought(String),
    /// More text for the reader.
    Text(String),
    /// A call of a tool.
    Call {
        /// The name of the function.
        name: String,
        /// Its arguments as JSON text.
        arguments: String,
    },
}

/// Whether a model's text begins with thoughts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    /// It does not: everything is the answer.
    #[default]
    Never,
    /// It does if it says so.
    MayBegin,
    /// It does: the prompt ends within the thoughts.
    Began,
}

/// Reads a model's text.
#[derive(Debug)]
pub struct AnswerReader {
    thoughts: Option<ThoughtSplitter>,
    calls: Option<CallReader>,
}

/// Reads calls in what a model says.
#[derive(Debug)]
struct CallReader {
    bare: BareCallFinder,
    marked: ToolCallSplitter,
    /// Whether the whole answer was a call.
    was_bare: bool,
}

impl AnswerReader {
    /// A reader of a text that may have calls of the functions that were offered, if there are
    /// some.
    pub fn new(thinking: Thinking, offered: Option<Arc<[OfferedFunction]>>) -> Self {
        AnswerReader {
            thoughts: match thinking {
                Thinking::Never => None,
                Thinking::MayBegin => Some(ThoughtSplitter::new(false)),
                Thinking::Began => Some(ThoughtSplitter::new(true)),
            },
            calls: offered.map(|offered| CallReader {
                bare: BareCallFinder::new(offered),
                marked: ToolCallSplitter::default(),
                was_bare: false,
            }),
        }
    }

    /// Takes more text; returns what is complete.
    pub fn push(&mut self, text: String) -> Vec<SpokenPart> {
        let told = match &mut self.thoughts {
            Some(thoughts) => thoughts.push(&text),
            None => Told {
                thought: String::new(),
                said: text,
            },
        };
        self.take(told)
    }

    /// The end: what was held back.
    pub fn finish(&mut self) -> Vec<SpokenPart> {
        let told = self.thoughts.as_mut().map(ThoughtSplitter::finish);
        let mut parts = self.take(told.unwrap_or_default());
        if let Some(calls) = &mut self.calls {
            parts.extend(calls.finish());
        }
        parts
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        let calls = self.calls.as_ref();
        calls.map_or(0, |c| c.marked.calls() + usize::from(c.was_bare))
    }

    /// Whether the model still thinks.
    pub fn thinks(&self) -> bool {
        self.thoughts.as_ref().is_some_and(ThoughtSplitter::within)
    }

    fn take(&mut self, told: Told) -> Vec<SpokenPart> {
        let mut parts = Vec::new();
        if !told.thought.is_empty() {
            parts.push(SpokenPart::Thought(told.thought));
        }
        match &mut self.calls {
            _ if told.said.is_empty() => {}
            Some(calls) => parts.extend(calls.push(&told.said)),
            None => parts.push(SpokenPart::Text(told.said)),
        }
        parts
    }
}

impl CallReader {
    fn push(&mut self, text: &str) -> Vec<SpokenPart> {
        let text = self.bare.push(text);
        let parts = self.marked.push(&text);
        parts.into_iter().map(SpokenPart::from).collect()
    }

    fn finish(&mut self) -> Vec<SpokenPart> {
        let mut parts = match self.bare.finish() {
            Ok((name, arguments)) => {
                self.was_bare = true;
                return vec![SpokenPart::Call { name, arguments }];
            }
            Err(text) => self.marked.push(&text),
        };
        parts.extend(self.marked.finish());
        parts.into_iter().map(SpokenPart::from).collect()
    }
}

impl From<AnswerPart> for SpokenPart {
    fn from(part: AnswerPart) -> Self {
        match part {
            AnswerPart::Text(text) => SpokenPart::Text(text),
            AnswerPart::Call(name, arguments) => SpokenPart::Call { name, arguments },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(thinking: Thinking, tools: bool, text: &str) -> (Vec<SpokenPart>, usize) {
        let function = OfferedFunction {
            name: "f".into(),
            parameters: None,
        };
        let offered = tools.then(|| Arc::from([function]));
        let mut reader = AnswerReader::new(thinking, offered);
        let mut parts = reader.push(text.to_owned());
        parts.extend(reader.finish());
        (parts, reader.calls())
    }

    fn text(text: &str) -> SpokenPart {
        SpokenPart::Text(text.to_owned())
    }

    fn call(arguments: &str) -> SpokenPart {
        SpokenPart::Call {
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    #[test]
    fn thoughts_text_and_calls_are_told_apart() {
        let thought = SpokenPart::Thought("hm".to_owned());
        let marked = "<think>hm</think><tool_call>{\"name\":\"f\"}</tool_call>";
        let bare = "hm</think>\n```json\n{\"name\":\"f\",\"arguments\":{\"a\":1}}\n```";
        let cases = [
            (
                read(Thinking::MayBegin, true, marked),
                (vec![thought.clone(), call("{}")], 1),
            ),
            (
                read(Thinking::Began, true, bare),
                (vec![thought, call("{\"a\":1}")], 1),
            ),
            (
                read(Thinking::Never, false, marked),
                (vec![text(marked)], 0),
            ),
            (
                read(Thinking::MayBegin, true, "no call"),
                (vec![text("no call")], 0),
            ),
            (
                read(Thinking::MayBegin, true, "{\"name\":\"g\"}"),
                (vec![text("{\"name\":\"g\"}")], 0),
            ),
            (read(Thinking::MayBegin, false, ""), (Vec::new(), 0)),
        ];
        for (found, wanted) in cases {
            assert_eq!(found, wanted);
        }
    }
}
