//! Calls as JSON objects: `{"name": "f", "arguments": {}}`, or a list of them.

use serde_json::Value;

use super::json_span::JsonSpan;
use super::progress::{BodyProgress, BodyState, CallEvent, blanks, is_name};
use crate::reading::loose::value_of;

/// Keys of a function's name.
const NAMES: [&str; 3] = ["name", "tool_name", "function_name"];
/// Keys of its arguments.
const ARGUMENTS: [&str; 3] = ["arguments", "parameters", "args"];
/// Key of an object that the two stand in.
const WITHIN: &str = "function";
/// Longest key that is looked at, in bytes.
const LONGEST_KEY: usize = 256;
/// Longest beginning of a fence, in bytes.
const LONGEST_FENCE: usize = 32;
/// Longest text of a value that is kept until it ends, in bytes.
const LONGEST_KEPT: usize = 1 << 20;
const FENCE: &str = "```";

/// Reads calls that are objects.
#[derive(Debug)]
pub(super) struct JsonCall {
    /// Whether the only key of an object is the name.
    keyed: bool,
    at: JsonPlace,
    /// Whether it is a list.
    list: bool,
    /// Objects that the one that is read stands in.
    within: usize,
    key: String,
    name: Option<String>,
    /// Whether the call was told of.
    begun: bool,
    /// Text that is kept until it is whole.
    kept: String,
    /// The arguments, where they came before the name.
    arguments: Option<String>,
    span: JsonSpan,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum JsonPlace {
    Before,
    /// Between the objects of a list.
    Between,
    /// Before a key, or the end of the object.
    Gap,
    Key,
    Colon,
    /// Before a value.
    Value,
    /// In the name.
    Name,
    /// In arguments that are told as they come.
    Told,
    /// In arguments that are kept.
    Kept,
    /// In a value of no interest.
    Other,
    Over,
}

impl JsonCall {
    /// Nothing was read yet. With `keyed` the only key of an object is the name.
    pub(super) fn new(keyed: bool) -> Self {
        JsonCall {
            keyed,
            at: JsonPlace::Before,
            list: false,
            within: 0,
            key: String::new(),
            name: None,
            begun: false,
            kept: String::new(),
            arguments: None,
            span: JsonSpan::default(),
        }
    }

    /// Reads on.
    pub(super) fn step(&mut self, text: &str, told: &mut Vec<CallEvent>) -> BodyProgress {
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let (used, state) = match self.at {
                JsonPlace::Over => return BodyProgress::new(at, BodyState::Over),
                JsonPlace::Name | JsonPlace::Told | JsonPlace::Kept | JsonPlace::Other => {
                    self.value(rest, told)
                }
                JsonPlace::Key => self.read_key(rest),
                JsonPlace::Before => self.begin(rest),
                _ => self.between_values(rest, told),
            };
            at += used;
            match state {
                None if at < text.len() => {}
                None => return BodyProgress::new(at, BodyState::Wants),
                Some(state) => return BodyProgress::new(at, state),
            }
        }
    }

    /// What stands before the object or the list: white space, and the beginning of a fence.
    fn begin(&mut self, text: &str) -> (usize, Option<BodyState>) {
        let blank = blanks(text);
        let rest = &text[blank..];
        match rest.as_bytes().first() {
            None => (blank, None),
            Some(b'{') => {
                self.at = JsonPlace::Gap;
                (blank + 1, None)
            }
            Some(b'[') => {
                self.list = true;
                self.at = JsonPlace::Between;
                (blank + 1, None)
            }
            Some(b'`') => match rest.find('\n') {
                Some(end) if rest.starts_with(FENCE) && end <= LONGEST_FENCE => {
                    (blank + end + 1, None)
                }
                None if (rest.starts_with(FENCE) || FENCE.starts_with(rest))
                    && rest.len() <= LONGEST_FENCE =>
                {
                    (blank, Some(BodyState::Wants))
                }
                _ => (blank, Some(BodyState::Wrong)),
            },
            Some(_) => (blank, Some(BodyState::Wrong)),
        }
    }

    /// A character between values.
    fn between_values(
        &mut self,
        text: &str,
        told: &mut Vec<CallEvent>,
    ) -> (usize, Option<BodyState>) {
        let blank = blanks(text);
        let Some(&byte) = text.as_bytes().get(blank) else {
            return (blank, None);
        };
        let used = blank + 1;
        self.at = match (self.at, byte) {
            (JsonPlace::Between, b'{') => JsonPlace::Gap,
            (JsonPlace::Between, b']') => JsonPlace::Over,
            (JsonPlace::Between | JsonPlace::Gap, b',') => self.at,
            (JsonPlace::Gap, b'"') => {
                self.key.clear();
                JsonPlace::Key
            }
            (JsonPlace::Gap, b'}') => return (used, self.object_ends(told)),
            (JsonPlace::Colon, b':') => JsonPlace::Value,
            (JsonPlace::Value, byte) => return self.value_begins(byte, blank, told),
            _ => return (blank, Some(BodyState::Wrong)),
        };
        (used, None)
    }

    fn read_key(&mut self, text: &str) -> (usize, Option<BodyState>) {
        let end = text.find('"').unwrap_or(text.len());
        for c in text[..end].chars() {
            // A longer key is none of those that mean something.
            if self.key.len() > LONGEST_KEY {
                break;
            }
            self.key.push(c);
        }
        if end < text.len() {
            self.at = JsonPlace::Colon;
            return (end + 1, None);
        }
        (end, None)
    }

    /// A value begins with this byte, which stands behind `blank` others.
    fn value_begins(
        &mut self,
        byte: u8,
        blank: usize,
        told: &mut Vec<CallEvent>,
    ) -> (usize, Option<BodyState>) {
        self.span = JsonSpan::default();
        self.kept.clear();
        let key = self.key.as_str();
        let object = matches!(byte, b'{' | b'[');
        if self.keyed && self.name.is_none() {
            if !is_name(key) {
                return (blank, Some(BodyState::Wrong));
            }
            self.name = Some(self.key.clone());
            self.at = JsonPlace::Kept;
        } else if key == WITHIN && byte == b'{' && self.name.is_none() {
            self.within += 1;
            self.at = JsonPlace::Gap;
            return (blank + 1, None);
        } else if (NAMES.contains(&key) || key == WITHIN) && byte == b'"' && !self.begun {
            self.at = JsonPlace::Name;
        } else if ARGUMENTS.contains(&key) && !self.begun {
            self.at = JsonPlace::Kept;
        } else {
            self.at = JsonPlace::Other;
        }
        if self.at == JsonPlace::Kept
            && object
            && let Some(name) = &self.name
        {
            told.push(CallEvent::Begin(name.clone()));
            self.begun = true;
            self.at = JsonPlace::Told;
        }
        (blank, None)
    }

    /// In a value.
    fn value(&mut self, text: &str, told: &mut Vec<CallEvent>) -> (usize, Option<BodyState>) {
        let end = self.span.end(text);
        let more = &text[..end.unwrap_or(text.len())];
        match self.at {
            JsonPlace::Told if !more.is_empty() => told.push(CallEvent::More(more.to_owned())),
            JsonPlace::Told | JsonPlace::Other => {}
            _ if self.kept.len() + more.len() > LONGEST_KEPT => {
                return (0, Some(BodyState::Wrong));
            }
            _ => self.kept.push_str(more),
        }
        if end.is_some() {
            match self.at {
                JsonPlace::Name => match serde_json::from_str::<String>(&self.kept) {
                    Ok(name) if is_name(&name) => self.name = Some(name),
                    _ => return (more.len(), Some(BodyState::Wrong)),
                },
                JsonPlace::Kept => self.arguments = Some(std::mem::take(&mut self.kept)),
                _ => {}
            }
            self.at = JsonPlace::Gap;
        }
        (more.len(), None)
    }

    /// The object ends: is it a call?
    fn object_ends(&mut self, told: &mut Vec<CallEvent>) -> Option<BodyState> {
        if self.within > 0 {
            self.within -= 1;
            return None;
        }
        self.at = if self.list {
            JsonPlace::Between
        } else {
            JsonPlace::Over
        };
        let Some(name) = self.name.take() else {
            return Some(BodyState::Wrong);
        };
        if !self.begun {
            let arguments = self.arguments.take().unwrap_or_default();
            told.push(CallEvent::Begin(name));
            told.push(CallEvent::More(object_text(&arguments)));
        }
        told.push(CallEvent::End);
        self.begun = false;
        self.arguments = None;
        Some(BodyState::Called)
    }
}

/// The text of arguments that may be missing, or an object that stands in a text.
fn object_text(arguments: &str) -> String {
    match value_of(arguments) {
        Some(Value::String(text)) => text,
        Some(Value::Null) => "{}".to_owned(),
        None if arguments.trim().is_empty() => "{}".to_owned(),
        _ => arguments.trim().to_owned(),
    }
}
