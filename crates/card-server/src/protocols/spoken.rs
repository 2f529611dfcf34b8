//! A model's text as it is read: thoughts, text and calls of tools, told apart as the text
//! streams.

use card_api::GenerationJob;
use card_api::tool_calls::{AnswerPart, ToolCallSplitter};

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SpokenPart {
    /// More of what the model thinks before it answers.
    #[allow(dead_code, reason = "where thoughts are not told apart they are text")]
    Thought(String),
    /// More text for the reader.
    Text(String),
    /// A call of a tool.
    Call {
        /// The name of the tool.
        name: String,
        /// Its arguments as JSON text.
        arguments: String,
    },
}

/// Reads a model's text.
#[derive(Debug)]
pub(super) struct AnswerReader {
    /// Finds calls of tools in the text, where there are tools.
    splitter: Option<ToolCallSplitter>,
}

impl AnswerReader {
    /// A reader of the answer to this job.
    pub(super) fn of(job: &GenerationJob) -> Self {
        AnswerReader {
            splitter: job.tools.then(ToolCallSplitter::default),
        }
    }

    /// Takes more text; returns what is complete.
    pub(super) fn push(&mut self, text: String) -> Vec<SpokenPart> {
        match &mut self.splitter {
            Some(splitter) => spoken(splitter.push(&text)),
            None if text.is_empty() => Vec::new(),
            None => vec![SpokenPart::Text(text)],
        }
    }

    /// The end: what was held back.
    pub(super) fn finish(&mut self) -> Vec<SpokenPart> {
        let rest = self.splitter.as_mut().map(ToolCallSplitter::finish);
        spoken(rest.unwrap_or_default())
    }
}

fn spoken(parts: Vec<AnswerPart>) -> Vec<SpokenPart> {
    let part = |part| match part {
        AnswerPart::Text(text) => SpokenPart::Text(text),
        AnswerPart::Call(name, arguments) => SpokenPart::Call { name, arguments },
    };
    parts.into_iter().map(part).collect()
}
