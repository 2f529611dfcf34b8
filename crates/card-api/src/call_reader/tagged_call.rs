//! Calls whose arguments stand each in marks: `<function=f>`, `<parameter=a>` and the like.

use std::sync::Arc;

use super::argument::{self, ArgumentKind};
use super::json_span::JsonSpan;
use super::json_text::{escaped, text_of};
use super::nested;
use super::progress::{BodyProgress, BodyState, CallEvent, blanks, cut, floor, held_for, is_name};
use crate::answer_format::markup::{MINIMAX_TAG, TaggedMarks};
use crate::job::OfferedFunction;

/// Most bytes of a name with what stands beside it.
const LONGEST_NAME: usize = 512;
/// Longest value that is kept until it ends, in bytes.
const LONGEST_VALUE: usize = 1 << 20;

/// Reads a call whose arguments stand in marks.
#[derive(Debug)]
pub(super) struct TaggedCall {
    marks: &'static TaggedMarks,
    offered: Arc<[OfferedFunction]>,
    at: TaggedPlace,
    function: String,
    /// Whether the call was told of.
    begun: bool,
    /// Arguments so far.
    arguments: usize,
    /// Whether the arguments are an object.
    object: bool,
    argument: String,
    /// What ends it.
    close: String,
    value: TaggedValue,
    span: JsonSpan,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum TaggedPlace {
    /// In the name of the function.
    Name,
    /// Before an argument, or the end of the call.
    Gap,
    /// In the name of an argument.
    ArgumentName,
    /// Before the mark of a value.
    ValueOpen,
    Value,
    /// In arguments that are an object.
    Object,
    Over,
}

/// The value that is read.
#[derive(Debug, Default)]
struct TaggedValue {
    /// Whether it is text that is told as it comes.
    told: bool,
    /// The value, or a line break that may be none of it.
    kept: String,
    /// Whether something of it came.
    begun: bool,
}

/// What a step inside a call does: bytes it used, and where it cannot go on, why.
type Step = (usize, Option<BodyState>);

impl TaggedCall {
    /// Nothing of the call was read, not its name either.
    pub(super) fn new(marks: &'static TaggedMarks, offered: Arc<[OfferedFunction]>) -> Self {
        TaggedCall {
            marks,
            offered,
            at: TaggedPlace::Name,
            function: String::new(),
            begun: false,
            arguments: 0,
            object: false,
            argument: String::new(),
            close: String::new(),
            value: TaggedValue::default(),
            span: JsonSpan::default(),
        }
    }

    /// Reads on.
    pub(super) fn step(&mut self, text: &str, told: &mut Vec<CallEvent>) -> BodyProgress {
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let (used, state) = match self.at {
                TaggedPlace::Name => self.name(rest),
                TaggedPlace::Gap => self.gap(rest, told),
                TaggedPlace::ArgumentName => self.argument_name(rest, told),
                TaggedPlace::ValueOpen => self.value_open(rest),
                TaggedPlace::Value => self.value(rest, told),
                TaggedPlace::Object => self.object(rest, told),
                TaggedPlace::Over => (0, Some(BodyState::Over)),
            };
            at += used;
            if let Some(state) = state {
                return BodyProgress::new(at, state);
            }
        }
    }

    /// The name of the function.
    fn name(&mut self, text: &str) -> Step {
        let window = &text[..floor(text, LONGEST_NAME)];
        let end = match self.marks.name_end {
            "" => window.find(['\n', '<']),
            mark => window.find(mark),
        };
        let Some(end) = end else {
            return (0, Some(cut(text, LONGEST_NAME)));
        };
        let name = unquoted(&window[..end]).0;
        // A name in no marks of its own may be any word.
        let bare = self.marks.name_end.is_empty();
        if !is_name(name) || (bare && !self.offered.iter().any(|f| f.name == name)) {
            return (0, Some(BodyState::Wrong));
        }
        self.function = name.to_owned();
        self.at = TaggedPlace::Gap;
        (end + self.marks.name_end.len(), None)
    }

    /// Before an argument, or the end of the call.
    fn gap(&mut self, text: &str, told: &mut Vec<CallEvent>) -> Step {
        let blank = blanks(text);
        let rest = &text[blank..];
        let marks = self.marks;
        let closes = marks.call_close.len() > marks.argument_open.len()
            && marks.call_close.starts_with(marks.argument_open)
            && (rest.starts_with(marks.call_close) || marks.call_close.starts_with(rest));
        if rest.starts_with(marks.argument_open) && !self.object && !closes {
            self.begin(told);
            self.at = TaggedPlace::ArgumentName;
            return (blank + marks.argument_open.len(), None);
        }
        if rest.starts_with(marks.call_close) {
            return (blank + marks.call_close.len(), self.end(told));
        }
        if !marks.also_over.is_empty() && rest.starts_with(marks.also_over) {
            return (blank, self.end(told));
        }
        if rest.starts_with('{') && self.arguments == 0 && !self.object {
            self.begin(told);
            self.object = true;
            self.at = TaggedPlace::Object;
            return (blank, None);
        }
        let begins = |mark: &str| mark.starts_with(rest);
        let may = [marks.argument_open, marks.call_close, marks.also_over]
            .into_iter()
            .any(begins);
        let state = if may {
            BodyState::Wants
        } else {
            BodyState::Wrong
        };
        (blank, Some(state))
    }

    fn argument_name(&mut self, text: &str, told: &mut Vec<CallEvent>) -> Step {
        let window = &text[..floor(text, LONGEST_NAME)];
        let Some(end) = window.find(self.marks.argument_name_end) else {
            return (0, Some(cut(text, LONGEST_NAME)));
        };
        let (name, beside) = unquoted(&window[..end]);
        self.argument = name.to_owned();
        self.close = self.marks.argument_close.replace("{}", name);
        let is_text = ["string=\"true\"", "type=\"string\""].iter();
        let kind = if is_text.into_iter().any(|says| beside.contains(says)) {
            ArgumentKind::Text
        } else {
            argument::kind(&self.offered, &self.function, name)
        };
        self.value = TaggedValue {
            told: kind == ArgumentKind::Text,
            ..TaggedValue::default()
        };
        let before = if self.arguments == 0 { "{" } else { "," };
        let key = text_of(name);
        told.push(CallEvent::More(format!("{before}{key}:")));
        self.arguments += 1;
        self.at = if self.marks.value_open.is_empty() {
            TaggedPlace::Value
        } else {
            TaggedPlace::ValueOpen
        };
        (end + self.marks.argument_name_end.len(), None)
    }

    fn value_open(&mut self, text: &str) -> Step {
        let blank = blanks(text);
        let rest = &text[blank..];
        let mark = self.marks.value_open;
        if rest.starts_with(mark) {
            self.at = TaggedPlace::Value;
            return (blank + mark.len(), None);
        }
        let state = if mark.starts_with(rest) {
            BodyState::Wants
        } else {
            BodyState::Wrong
        };
        (blank, Some(state))
    }

    /// In a value: up to its end, or as far as no end can begin.
    fn value(&mut self, text: &str, told: &mut Vec<CallEvent>) -> Step {
        let mark = self.close.as_str();
        let length = mark.len();
        let end = text.find(mark);
        let stop = end.unwrap_or_else(|| text.len() - held_for(text, mark));
        let room = LONGEST_VALUE.saturating_sub(self.value.kept.len());
        if !self.value.told && stop > room {
            return (floor(text, room), Some(BodyState::Wrong));
        }
        self.add(&text[..stop], told);
        if end.is_none() {
            return (stop, Some(BodyState::Wants));
        }
        self.end_value(told);
        self.at = TaggedPlace::Gap;
        (stop + length, None)
    }

    /// More of the value.
    fn add(&mut self, text: &str, told: &mut Vec<CallEvent>) {
        let value = &mut self.value;
        let mut text = text;
        if text.is_empty() {
            return;
        }
        if !value.begun {
            value.begun = true;
            if value.told {
                told.push(CallEvent::More("\"".to_owned()));
            }
            if self.marks.padded {
                text = text.strip_prefix('\n').unwrap_or(text);
            }
        }
        if !value.told {
            value.kept.push_str(text);
            return;
        }
        // The last line break waits: it may belong to the mark that follows.
        let mut whole = std::mem::take(&mut value.kept);
        whole.push_str(text);
        if self.marks.padded && whole.ends_with('\n') {
            whole.pop();
            value.kept.push('\n');
        }
        if !whole.is_empty() {
            told.push(CallEvent::More(escaped(&whole)));
        }
    }

    fn end_value(&mut self, told: &mut Vec<CallEvent>) {
        let value = std::mem::take(&mut self.value);
        if value.told {
            let end = if value.begun { "\"" } else { "\"\"" };
            told.push(CallEvent::More(end.to_owned()));
            return;
        }
        let mut text = value.kept.as_str();
        if self.marks.padded {
            text = text.strip_suffix('\n').unwrap_or(text);
        }
        let nested = text.starts_with(MINIMAX_TAG).then(|| nested::json_of(text));
        let json = nested.flatten().unwrap_or_else(|| {
            argument::json_of(&self.offered, &self.function, &self.argument, text)
        });
        told.push(CallEvent::More(json));
    }

    /// Arguments that are an object.
    fn object(&mut self, text: &str, told: &mut Vec<CallEvent>) -> Step {
        let end = self.span.end(text);
        let used = end.unwrap_or(text.len());
        if used > 0 {
            told.push(CallEvent::More(text[..used].to_owned()));
        }
        if end.is_none() {
            return (used, Some(BodyState::Wants));
        }
        self.at = TaggedPlace::Gap;
        (used, None)
    }

    fn begin(&mut self, told: &mut Vec<CallEvent>) {
        if !self.begun {
            self.begun = true;
            told.push(CallEvent::Begin(self.function.clone()));
        }
    }

    fn end(&mut self, told: &mut Vec<CallEvent>) -> Option<BodyState> {
        self.begin(told);
        let end = if self.arguments == 0 { "{}" } else { "}" };
        if !self.object {
            told.push(CallEvent::More(end.to_owned()));
        }
        told.push(CallEvent::End);
        self.at = TaggedPlace::Over;
        Some(BodyState::Called)
    }
}

/// A name without the quotes it may stand in, and what stands beside it.
fn unquoted(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => (text, ""),
    }
}
