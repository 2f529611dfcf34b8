//! A part of an answer, as those who write answers get it.

use crate::tool_calls::AnswerPart;

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
    /// A call of a tool begins, whose arguments come piece by piece.
    CallBegin {
        /// The name of the function.
        name: String,
    },
    /// More of the arguments of the call that began, as JSON text.
    CallMore(String),
    /// The call that began is whole.
    CallEnd,
}

impl From<AnswerPart> for SpokenPart {
    fn from(part: AnswerPart) -> Self {
        match part {
            AnswerPart::Text(text) => SpokenPart::Text(text),
            AnswerPart::Call(name, arguments) => SpokenPart::Call { name, arguments },
        }
    }
}
