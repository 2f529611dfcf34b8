//! Looks for marks of calls, and tells text and calls apart.

use std::sync::Arc;

use super::body::BodyReader;
use super::progress::{BodyState, CallEvent, blanks, floor};
use crate::answer_format::AnswerFormat;
use crate::answer_format::markup::CallMark;
use crate::call_arguments::compact;
use crate::job::OfferedFunction;
use crate::spoken_part::{SpokenPart, add_part};

/// Longest call that is held back, in bytes; what is longer is text.
pub(crate) const LONGEST: usize = 1 << 20;
/// Most white space that waits for what comes after it, in bytes.
const MOST_BLANK: usize = 1024;

/// Splits text as it streams into text and calls.
#[derive(Debug)]
pub(crate) struct CallReader {
    format: &'static AnswerFormat,
    offered: Arc<[OfferedFunction]>,
    /// Whether it looks for calls, and not for marks alone that say nothing.
    looks: bool,
    /// Whether calls are told as a whole, and not as they come.
    whole: bool,
    /// Text that may belong to a mark.
    held: String,
    /// White space, and marks that say nothing, before what may be a call. It is shown if text
    /// follows, and dropped if a call does.
    blank: String,
    /// Whether text that is blank waits for what follows.
    waits: bool,
    open: Option<OpenCall>,
    /// Whether what follows may be a mark that closes a call.
    closing: bool,
    calls: usize,
}

/// A call that is read.
#[derive(Debug)]
struct OpenCall {
    body: BodyReader,
    /// Its text since the last call in it, as long as that may have to be shown.
    raw: String,
    /// Whether its beginning was told.
    begun: bool,
    /// The name and the arguments so far, where it is told as a whole.
    call: Option<(String, String)>,
    /// Whether a call in it was told.
    called: bool,
}

/// What was found in a text.
enum FoundMark {
    Dropped(&'static str),
    Section(&'static str),
    Call(&'static CallMark),
}

impl CallReader {
    /// Looks for calls of these functions, if there are some. With `whole` a call is told when it is whole, and not
    /// as it comes; then one that is cut off, or is no JSON, is text.
    pub(crate) fn new(
        format: &'static AnswerFormat,
        offered: Option<Arc<[OfferedFunction]>>,
        whole: bool,
    ) -> Self {
        let looks = offered.is_some();
        CallReader {
            format,
            looks,
            offered: offered.unwrap_or_default(),
            whole,
            held: String::new(),
            blank: String::new(),
            waits: looks,
            open: None,
            closing: false,
            calls: 0,
        }
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Takes more text; tells what is known by now.
    pub(crate) fn push(&mut self, more: &str, parts: &mut Vec<SpokenPart>) {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(more);
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let (used, goes_on) = match self.open.take() {
                Some(open) => self.read_call(open, rest, parts),
                None if self.closing => self.pass_closers(rest),
                None => self.look(rest, parts),
            };
            at += used;
            if !goes_on {
                break;
            }
        }
        self.held = text.split_off(at);
    }

    /// The end: what was held back. A call that was cut off is text, as far as it was not told.
    pub(crate) fn finish(&mut self, parts: &mut Vec<SpokenPart>) {
        let held = std::mem::take(&mut self.held);
        if let Some(open) = self.open.take() {
            let rest = open.raw + &held;
            // The end of a list is missing, and nothing else.
            let nothing = open.called && rest.trim_matches([',', ' ', '\n']).is_empty();
            if !open.begun && !nothing {
                self.text(&rest, parts);
            }
        } else if !self.closing {
            self.text(&held, parts);
        }
        let marked = !self.blank.trim().is_empty();
        let blank = std::mem::take(&mut self.blank);
        if (self.calls == 0 || marked) && !blank.is_empty() {
            add_part(parts, SpokenPart::Text(blank));
        }
    }

    /// Looks for the next mark. Returns the bytes that were used, and whether to go on.
    fn look(&mut self, text: &str, parts: &mut Vec<SpokenPart>) -> (usize, bool) {
        let (at, found) = self.next_mark(text);
        self.text(&text[..at], parts);
        match found {
            None => (at, false),
            Some(FoundMark::Dropped(mark)) => (at + mark.len(), true),
            Some(FoundMark::Section(mark)) => {
                self.blank.push_str(mark);
                self.waits = true;
                if self.blank.len() > MOST_BLANK {
                    self.show_blank(parts);
                }
                (at + mark.len(), true)
            }
            Some(FoundMark::Call(mark)) => {
                self.open = Some(OpenCall {
                    body: BodyReader::new(mark.body, &self.offered),
                    raw: mark.open.to_owned(),
                    begun: false,
                    call: None,
                    called: false,
                });
                (at + mark.open.len(), true)
            }
        }
    }

    /// Where the next mark is, or may begin.
    fn next_mark(&self, text: &str) -> (usize, Option<FoundMark>) {
        for (at, _) in text.char_indices() {
            let rest = &text[at..];
            let mut dropped = self.format.dropped.iter();
            let (sections, calls) = match self.looks {
                true => (self.format.sections, self.format.calls),
                false => (&[][..], &[][..]),
            };
            let (mut sections, mut calls) = (sections.iter(), calls.iter());
            if let Some(mark) = dropped.find(|mark| rest.starts_with(**mark)) {
                return (at, Some(FoundMark::Dropped(mark)));
            }
            if let Some(mark) = sections.find(|mark| rest.starts_with(**mark)) {
                return (at, Some(FoundMark::Section(mark)));
            }
            if let Some(mark) = calls.find(|mark| rest.starts_with(mark.open)) {
                return (at, Some(FoundMark::Call(mark)));
            }
            let opens = self.format.call_opens().filter(|_| self.looks);
            let mut marks = self.format.dropped.iter().copied().chain(opens);
            if marks.any(|mark| mark.starts_with(rest)) {
                return (at, None);
            }
        }
        (text.len(), None)
    }

    /// Text for the reader.
    fn text(&mut self, text: &str, parts: &mut Vec<SpokenPart>) {
        if text.is_empty() {
            return;
        }
        self.blank.push_str(text);
        let room = self.blank.len() <= MOST_BLANK;
        if !(self.waits && room && text.trim().is_empty()) {
            self.show_blank(parts);
        }
    }

    /// Shows what waited.
    fn show_blank(&mut self, parts: &mut Vec<SpokenPart>) {
        self.waits = false;
        let text = std::mem::take(&mut self.blank);
        add_part(parts, SpokenPart::Text(text));
    }

    /// Passes over marks that close a call, with the white space before them.
    fn pass_closers(&mut self, text: &str) -> (usize, bool) {
        let blank = blanks(text);
        let rest = &text[blank..];
        if blank <= MOST_BLANK {
            let closers = self.format.closers;
            if let Some(mark) = closers.iter().find(|mark| rest.starts_with(**mark)) {
                return (blank + mark.len(), true);
            }
            if closers.iter().any(|mark| mark.starts_with(rest)) {
                return (0, false);
            }
        }
        self.closing = false;
        (0, true)
    }

    /// Reads on in a call.
    fn read_call(
        &mut self,
        mut open: OpenCall,
        text: &str,
        parts: &mut Vec<SpokenPart>,
    ) -> (usize, bool) {
        let keeps = self.whole || !open.begun;
        let room = if keeps {
            floor(text, LONGEST.saturating_sub(open.raw.len()))
        } else {
            text.len()
        };
        let mut events = Vec::new();
        let progress = open.body.step(&text[..room], &mut events);
        let used = progress.used;
        if keeps {
            open.raw.push_str(&text[..used]);
        }
        for event in events {
            self.tell(&mut open, event, parts);
        }
        match progress.state {
            BodyState::Wants if room == text.len() => {
                self.open = Some(open);
                return (used, false);
            }
            BodyState::Called => self.open = Some(open),
            BodyState::Over if open.called => {
                self.closing = true;
                self.waits = true;
            }
            // What is too long is wrong, too.
            BodyState::Over | BodyState::Wrong | BodyState::Wants => self.give_up(open, parts),
        }
        (used, true)
    }

    /// Tells of a call.
    fn tell(&mut self, open: &mut OpenCall, event: CallEvent, parts: &mut Vec<SpokenPart>) {
        match event {
            CallEvent::Begin(name) if self.whole => open.call = Some((name, String::new())),
            CallEvent::Begin(name) => {
                open.begun = true;
                open.raw.clear();
                self.blank.clear();
                parts.push(SpokenPart::CallBegin { name });
            }
            CallEvent::More(text) => match &mut open.call {
                Some((_, arguments)) => arguments.push_str(&text),
                None => add_part(parts, SpokenPart::CallMore(text)),
            },
            CallEvent::End => {
                let raw = std::mem::take(&mut open.raw);
                let part = match open.call.take() {
                    Some((name, arguments)) => {
                        compact(&arguments).map(|arguments| SpokenPart::Call { name, arguments })
                    }
                    None => Some(SpokenPart::CallEnd),
                };
                let Some(part) = part else {
                    open.called = false;
                    self.text(&raw, parts);
                    return;
                };
                self.blank.clear();
                parts.push(part);
                self.calls += 1;
                self.waits = true;
                open.begun = false;
                open.called = true;
            }
        }
    }

    /// What was read is no call.
    fn give_up(&mut self, open: OpenCall, parts: &mut Vec<SpokenPart>) {
        if open.begun {
            self.calls += 1;
            self.waits = true;
            parts.push(SpokenPart::CallEnd);
        }
        self.text(&open.raw, parts);
    }
}
