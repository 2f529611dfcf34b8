//! A part of an answer, as those who write answers get it.

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

/// Adds a part, to the last one if that is of the same kind.
pub(crate) fn add_part(parts: &mut Vec<SpokenPart>, part: SpokenPart) {
    match (parts.last_mut(), part) {
        (_, SpokenPart::Text(text) | SpokenPart::Thought(text) | SpokenPart::CallMore(text))
            if text.is_empty() => {}
        (Some(SpokenPart::Text(last)), SpokenPart::Text(more))
        | (Some(SpokenPart::Thought(last)), SpokenPart::Thought(more))
        | (Some(SpokenPart::CallMore(last)), SpokenPart::CallMore(more)) => last.push_str(&more),
        (_, part) => parts.push(part),
    }
}
