//! Answers in OpenAI's harmony format: messages in channels, each with a header.
//! (<https://cookbook.openai.com/articles/openai-harmony>; gpt-oss and models trained like it.)

use std::sync::Arc;

use crate::call_arguments::compact;
use crate::call_reader::floor;
use crate::call_reader::json_span::JsonSpan;
use crate::job::OfferedFunction;
use crate::spoken_part::{SpokenPart, add_part};

/// What ends a header, and begins the text of a message.
const MESSAGE: &str = "<|message|>";
/// What the name of a channel stands behind.
const CHANNEL: &str = "<|channel|>";
/// What begins a message.
const START: &str = "<|start|>";
/// What ends the text of a message.
const ENDS: [&str; 5] = ["<|end|>", "<|return|>", "<|call|>", START, CHANNEL];
/// What a header begins with.
const HEADERS: [&str; 4] = [START, CHANNEL, "to=", "assistant"];
/// The channel of thoughts.
const ANALYSIS: &str = "analysis";
/// What stands before the name of an offered function.
const FUNCTIONS: &str = "functions.";
/// Longest header, in bytes; what is longer is text.
const LONGEST_HEADER: usize = 512;
/// Longest call that is told as a whole, in bytes.
const LONGEST_CALL: usize = 1 << 20;

/// Tells thoughts, text and calls apart in messages.
#[derive(Debug)]
pub(crate) struct ChannelReader {
    /// The functions that may be called; `None` if there are none.
    offered: Option<Arc<[OfferedFunction]>>,
    /// Whether calls are told as a whole.
    whole: bool,
    /// Text that is not told yet.
    held: String,
    at: ChannelPlace,
    /// The header of the message that is read.
    header: String,
    call: Option<ChannelCall>,
    calls: usize,
}

/// Where a text is in a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ChannelPlace {
    /// In a header.
    Header,
    /// In thoughts.
    Thought,
    /// In text for the user.
    Text,
    /// In the arguments of a call.
    Call,
    /// Behind the arguments of a call.
    Called,
}

/// A call that is read.
#[derive(Debug)]
struct ChannelCall {
    name: String,
    /// Its arguments so far, where it is told as a whole.
    arguments: String,
    span: JsonSpan,
}

impl ChannelReader {
    /// A reader of a text that begins at this place of a message. With `whole` a call is told when
    /// it is whole.
    pub(crate) fn new(
        at: ChannelPlace,
        offered: Option<Arc<[OfferedFunction]>>,
        whole: bool,
    ) -> Self {
        ChannelReader {
            offered,
            whole,
            held: String::new(),
            at,
            header: String::new(),
            call: None,
            calls: 0,
        }
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Whether the model still thinks.
    pub(crate) fn thinks(&self) -> bool {
        self.at == ChannelPlace::Thought
    }

    /// Takes more text; tells what is known by now.
    pub(crate) fn push(&mut self, more: &str, parts: &mut Vec<SpokenPart>) {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(more);
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let (used, goes_on) = match self.at {
                ChannelPlace::Header => self.read_header(rest, parts),
                _ => self.read_message(rest, parts),
            };
            at += used;
            if !goes_on {
                break;
            }
        }
        self.held = text.split_off(at);
    }

    /// The end: what was held back.
    pub(crate) fn finish(&mut self, parts: &mut Vec<SpokenPart>) {
        let held = std::mem::take(&mut self.held);
        match self.at {
            // A header without a message says nothing, if it is one.
            ChannelPlace::Header if may_begin_header(&held) && held.contains('|') => {}
            ChannelPlace::Header => add_part(parts, SpokenPart::Text(held)),
            _ => {
                self.tell(&held, parts);
                self.cut_off(parts);
            }
        }
    }

    fn read_header(&mut self, text: &str, parts: &mut Vec<SpokenPart>) -> (usize, bool) {
        const MOST: usize = LONGEST_HEADER + MESSAGE.len();
        let window = &text[..floor(text, MOST)];
        if let Some(at) = window.find(MESSAGE)
            && begins_header(&text[..at])
        {
            let header = &text[..at];
            let behind = &text[at + MESSAGE.len()..];
            // Some models write a space behind each mark.
            let spaced = header.contains("<|channel|> ");
            if spaced && behind.is_empty() {
                return (0, false);
            }
            self.header = text[..at + MESSAGE.len()].to_owned();
            self.at = self.place(header);
            let space = usize::from(spaced && behind.starts_with(' '));
            return (at + MESSAGE.len() + space, true);
        }
        if may_begin_header(text) && text.len() <= MOST {
            return (0, false);
        }
        self.header.clear();
        self.at = ChannelPlace::Text;
        // Where the text begins with a mark, that is text too.
        let character = text.chars().next().map_or(0, char::len_utf8);
        self.tell(&text[..character], parts);
        (character, true)
    }

    /// Where a message with this header belongs.
    fn place(&mut self, header: &str) -> ChannelPlace {
        let to = header
            .split("to=")
            .nth(1)
            .map(|rest| word(rest.trim_start()));
        let channel = header
            .rsplit(CHANNEL)
            .next()
            .map(|rest| word(rest.trim_start()));
        if let (Some(to), Some(offered)) = (to, &self.offered) {
            let function = to.strip_prefix(FUNCTIONS);
            let name = function.unwrap_or(to);
            if !name.is_empty() && (function.is_some() || offered.iter().any(|f| f.name == name)) {
                self.call = Some(ChannelCall {
                    name: name.to_owned(),
                    arguments: String::new(),
                    span: JsonSpan::default(),
                });
                return ChannelPlace::Call;
            }
        }
        match channel {
            Some(ANALYSIS) if to.is_none_or(|to| to == "assistant") => ChannelPlace::Thought,
            _ => ChannelPlace::Text,
        }
    }

    fn read_message(&mut self, text: &str, parts: &mut Vec<SpokenPart>) -> (usize, bool) {
        let mut place = text.len();
        let mut found = None;
        for (at, _) in text.char_indices() {
            let rest = &text[at..];
            found = ENDS.iter().find(|mark| rest.starts_with(**mark));
            if found.is_some() || ENDS.iter().any(|mark| mark.starts_with(rest)) {
                place = at;
                break;
            }
        }
        self.tell(&text[..place], parts);
        let Some(mark) = found else {
            return (place, false);
        };
        self.end_message(parts);
        self.at = ChannelPlace::Header;
        // What begins a message is part of its header.
        let begins = [START, CHANNEL].contains(mark);
        (place + if begins { 0 } else { mark.len() }, true)
    }

    /// More of the message.
    fn tell(&mut self, text: &str, parts: &mut Vec<SpokenPart>) {
        if text.is_empty() {
            return;
        }
        match self.at {
            ChannelPlace::Thought => add_part(parts, SpokenPart::Thought(text.to_owned())),
            ChannelPlace::Call => self.tell_call(text, parts),
            ChannelPlace::Called if text.trim().is_empty() => {}
            _ => {
                if self.at == ChannelPlace::Called {
                    self.at = ChannelPlace::Text;
                }
                add_part(parts, SpokenPart::Text(text.to_owned()));
            }
        }
    }

    /// More of a call.
    fn tell_call(&mut self, text: &str, parts: &mut Vec<SpokenPart>) {
        let Some(call) = &mut self.call else {
            return;
        };
        let first = call.arguments.is_empty();
        let text = if first { text.trim_start() } else { text };
        if text.is_empty() {
            return;
        }
        if first && !text.starts_with('{') {
            return self.no_call(text, parts);
        }
        if first && !self.whole {
            let name = call.name.clone();
            parts.push(SpokenPart::CallBegin { name });
        }
        let end = call.span.end(text);
        let (more, rest) = text.split_at(end.unwrap_or(text.len()));
        if self.whole || first {
            call.arguments.push_str(more);
        }
        let too_long = self.whole && call.arguments.len() > LONGEST_CALL;
        if !self.whole {
            add_part(parts, SpokenPart::CallMore(more.to_owned()));
        }
        if too_long {
            self.no_call(rest, parts);
        } else if end.is_some() {
            self.end_call(parts);
            self.tell(rest, parts);
        }
    }

    /// A call turns out to be none: what follows is text too.
    fn no_call(&mut self, text: &str, parts: &mut Vec<SpokenPart>) {
        if let Some(call) = self.call.take() {
            let header = std::mem::take(&mut self.header);
            add_part(parts, SpokenPart::Text(header + &call.arguments));
        }
        self.at = ChannelPlace::Text;
        self.tell(text, parts);
    }

    /// The arguments are whole.
    fn end_call(&mut self, parts: &mut Vec<SpokenPart>) {
        let part = match &self.call {
            Some(call) if self.whole => compact(&call.arguments).map(|arguments| {
                let name = call.name.clone();
                SpokenPart::Call { name, arguments }
            }),
            _ => Some(SpokenPart::CallEnd),
        };
        let Some(part) = part else {
            return self.no_call("", parts);
        };
        self.call = None;
        self.at = ChannelPlace::Called;
        self.calls += 1;
        parts.push(part);
    }

    /// The message ends. A call that did not is text, where it was not told.
    fn end_message(&mut self, parts: &mut Vec<SpokenPart>) {
        match &self.call {
            Some(call) if self.whole || call.arguments.is_empty() => self.no_call("", parts),
            Some(_) => {
                self.call = None;
                self.calls += 1;
                parts.push(SpokenPart::CallEnd);
            }
            None => {}
        }
    }

    /// The text ends. A call that did not is text, where it was not told.
    fn cut_off(&mut self, parts: &mut Vec<SpokenPart>) {
        let told = |call: &ChannelCall| !self.whole && !call.arguments.is_empty();
        if self.call.as_ref().is_some_and(|call| !told(call)) {
            self.no_call("", parts);
        }
    }
}

/// Whether a text begins as a header does.
fn begins_header(text: &str) -> bool {
    let text = text.trim_start();
    HEADERS.iter().any(|mark| text.starts_with(mark))
}

/// Whether a text begins as a header does, or may go on so.
fn may_begin_header(text: &str) -> bool {
    let trimmed = text.trim_start();
    begins_header(text) || HEADERS.iter().any(|mark| mark.starts_with(trimmed))
}

/// The first word of a text.
fn word(text: &str) -> &str {
    text.split([' ', '<', '\n']).next().unwrap_or_default()
}
