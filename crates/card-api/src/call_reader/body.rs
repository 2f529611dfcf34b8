//! What follows the mark of a call, whatever its form.

use std::sync::Arc;

use super::gemma_call::GemmaCall;
use super::json_call::JsonCall;
use super::named_call::NamedCall;
use super::progress::{BodyProgress, BodyState, CallEvent, blanks};
use super::python_call::PythonCall;
use super::tagged_call::TaggedCall;
use crate::answer_format::markup::{ARG_KEY, CallBody, FUNCTION, NameForm};
use crate::job::OfferedFunction;

/// What begins a call in marks within `<tool_call>`.
const FUNCTION_OPEN: &str = "<function=";

/// Reads what follows the mark of a call.
#[derive(Debug)]
pub(super) enum BodyReader {
    /// The form is not known before something came.
    Undecided(CallBody, Arc<[OfferedFunction]>),
    Json(JsonCall),
    Tagged(Box<TaggedCall>),
    Named(NamedCall),
    Python(PythonCall),
    Gemma(GemmaCall),
}

impl BodyReader {
    /// Reads this form of a call of one of these functions.
    pub(super) fn new(body: CallBody, offered: &Arc<[OfferedFunction]>) -> Self {
        match body {
            CallBody::Json => BodyReader::Json(JsonCall::new(false)),
            CallBody::Keyed => BodyReader::Json(JsonCall::new(true)),
            CallBody::Tagged(marks) => {
                BodyReader::Tagged(Box::new(TaggedCall::new(marks, offered.clone())))
            }
            CallBody::Python => BodyReader::Python(PythonCall::new()),
            CallBody::Gemma => BodyReader::Gemma(GemmaCall::default()),
            CallBody::Named(NameForm::Mistral) | CallBody::Mixed | CallBody::PythonOrJson => {
                BodyReader::Undecided(body, offered.clone())
            }
            CallBody::Named(form) => BodyReader::Named(NamedCall::new(form)),
        }
    }

    /// Reads on.
    pub(super) fn step(&mut self, text: &str, told: &mut Vec<CallEvent>) -> BodyProgress {
        match self {
            BodyReader::Undecided(body, offered) => {
                let blank = blanks(text);
                let Some((reader, used)) = decided(*body, offered, &text[blank..]) else {
                    return BodyProgress::new(blank, BodyState::Wants);
                };
                *self = reader;
                let used = blank + used;
                let progress = self.step(&text[used..], told);
                BodyProgress::new(used + progress.used, progress.state)
            }
            BodyReader::Json(reader) => reader.step(text, told),
            BodyReader::Tagged(reader) => reader.step(text, told),
            BodyReader::Named(reader) => reader.step(text, told),
            BodyReader::Python(reader) => reader.step(text, told),
            BodyReader::Gemma(reader) => reader.step(text, told),
        }
    }
}

/// The reader for a text that begins so, and how much of it says no more than that; `None` while
/// that is not known.
fn decided(
    body: CallBody,
    offered: &Arc<[OfferedFunction]>,
    text: &str,
) -> Option<(BodyReader, usize)> {
    let first = *text.as_bytes().first()?;
    let at_once = |reader: BodyReader| Some((reader, 0));
    match body {
        CallBody::PythonOrJson if first == b'[' => {
            match text[1..].trim_start().as_bytes().first()? {
                b'{' => at_once(BodyReader::Json(JsonCall::new(false))),
                _ => at_once(BodyReader::Python(PythonCall::new())),
            }
        }
        CallBody::Mixed | CallBody::Named(_) | CallBody::PythonOrJson
            if matches!(first, b'{' | b'[') =>
        {
            at_once(BodyReader::Json(JsonCall::new(false)))
        }
        CallBody::PythonOrJson => at_once(BodyReader::Python(PythonCall::new())),
        CallBody::Named(form) => at_once(BodyReader::Named(NamedCall::new(form))),
        _ if text.starts_with(FUNCTION_OPEN) => {
            let reader = TaggedCall::new(&FUNCTION, offered.clone());
            Some((BodyReader::Tagged(Box::new(reader)), FUNCTION_OPEN.len()))
        }
        _ if FUNCTION_OPEN.starts_with(text) => None,
        _ => {
            let reader = TaggedCall::new(&ARG_KEY, offered.clone());
            at_once(BodyReader::Tagged(Box::new(reader)))
        }
    }
}
