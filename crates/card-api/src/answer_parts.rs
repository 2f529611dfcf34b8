//! A model's text as clients get it: thoughts, text and calls of tools, told apart as the text
//! streams.

use std::sync::Arc;

use crate::answer_format::AnswerFormat;
use crate::bare_call::BareCallFinder;
use crate::call_reader::CallReader;
use crate::channels::{ChannelPlace, ChannelReader};
use crate::job::OfferedFunction;
use crate::spoken_part::add_part;
use crate::thoughts::{ThoughtSplitter, Told};

pub use crate::spoken_part::SpokenPart;

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
    /// It does if it says so, though the prompt ends within the text of the answer.
    AnswerBegan,
}

/// How an answer is read.
#[derive(Clone, Debug)]
pub struct ReadAs {
    /// In which words the model writes thoughts.
    pub format: &'static AnswerFormat,
    /// In which words it writes calls: as a rule in those of `format`, and in those of
    /// [`AnswerFormat::by_default`] where it was told of tools in these.
    pub call_format: &'static AnswerFormat,
    /// Whether it begins with thoughts.
    pub thinking: Thinking,
    /// The functions that may be called; `None` if none may, and nothing is a call.
    pub offered: Option<Arc<[OfferedFunction]>>,
    /// Whether calls are told as a whole: one that is cut off, or is no JSON, is text then. Else
    /// they are told as they come.
    pub whole_calls: bool,
    /// Whether a grammar makes the answer a call, in the words of
    /// [`AnswerFormat::by_default`].
    pub forced_call: bool,
    /// Whether what stands behind the first call is left out.
    pub one_call: bool,
}

/// Reads a model's text.
#[derive(Debug)]
pub struct AnswerReader {
    reader: FormatReader,
    one_call: bool,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each answer that is written"
)]
enum FormatReader {
    /// Thoughts, and then text and calls.
    Marked(MarkedReader),
    /// Messages in channels.
    Channels(ChannelReader),
}

/// Reads an answer that begins with thoughts, if it has some.
#[derive(Debug)]
struct MarkedReader {
    thoughts: Option<ThoughtSplitter>,
    calls: Option<SaidReader>,
}

/// Reads calls in what a model says.
#[derive(Debug)]
struct SaidReader {
    /// Looks for an answer that is a call as a whole; nobody looks where a call is forced.
    bare: Option<BareCallFinder>,
    marked: CallReader,
    /// Calls that were the whole answer.
    bare_calls: usize,
}

impl AnswerReader {
    /// A reader of a text of which nothing else is known; calls are told as a whole.
    pub fn new(thinking: Thinking, offered: Option<Arc<[OfferedFunction]>>) -> Self {
        Self::read_as(ReadAs {
            format: AnswerFormat::by_default(),
            call_format: AnswerFormat::by_default(),
            thinking,
            offered,
            whole_calls: true,
            forced_call: false,
            one_call: false,
        })
    }

    /// A reader of a text.
    pub fn read_as(how: ReadAs) -> Self {
        let ReadAs {
            format,
            call_format,
            thinking,
            offered,
            whole_calls,
            forced_call,
            one_call,
        } = how;
        let began = thinking == Thinking::Began;
        if format.channels && thinking != Thinking::Never && !forced_call {
            let at = match thinking {
                Thinking::Began => ChannelPlace::Thought,
                Thinking::AnswerBegan => ChannelPlace::Text,
                Thinking::Never | Thinking::MayBegin => ChannelPlace::Header,
            };
            let reader = ChannelReader::new(at, offered, whole_calls);
            return AnswerReader {
                reader: FormatReader::Channels(reader),
                one_call,
            };
        }
        let called = if forced_call {
            AnswerFormat::by_default()
        } else {
            call_format
        };
        let thoughts = (thinking != Thinking::Never)
            .then(|| ThoughtSplitter::new(format, began, offered.is_some() && !forced_call));
        let offered = offered.or_else(|| forced_call.then(Arc::default));
        let reads = offered.is_some() || !called.dropped.is_empty();
        let bare = offered.clone().filter(|_| !forced_call);
        let calls = reads.then(|| SaidReader {
            bare: bare.map(BareCallFinder::new),
            marked: CallReader::new(called, offered, whole_calls),
            bare_calls: 0,
        });
        AnswerReader {
            reader: FormatReader::Marked(MarkedReader { thoughts, calls }),
            one_call,
        }
    }

    /// Takes more text; returns what is complete.
    pub fn push(&mut self, text: String) -> Vec<SpokenPart> {
        let over = self.is_over();
        let mut parts = Vec::new();
        match &mut self.reader {
            FormatReader::Marked(reader) => reader.push(text, &mut parts),
            FormatReader::Channels(reader) => reader.push(&text, &mut parts),
        }
        self.shown(parts, over)
    }

    /// The end: what was held back.
    pub fn finish(&mut self) -> Vec<SpokenPart> {
        let over = self.is_over();
        let mut parts = Vec::new();
        match &mut self.reader {
            FormatReader::Marked(reader) => reader.finish(&mut parts),
            FormatReader::Channels(reader) => reader.finish(&mut parts),
        }
        self.shown(parts, over)
    }

    /// Whether what comes is left out.
    fn is_over(&self) -> bool {
        self.one_call && self.calls() > 0
    }

    /// The parts without those that are left out.
    fn shown(&self, mut parts: Vec<SpokenPart>, over: bool) -> Vec<SpokenPart> {
        let ends =
            |part: &SpokenPart| matches!(part, SpokenPart::Call { .. } | SpokenPart::CallEnd);
        if over {
            parts.clear();
        } else if self.one_call
            && let Some(last) = parts.iter().position(ends)
        {
            parts.truncate(last + 1);
        }
        parts
    }

    /// Whole calls so far.
    pub fn calls(&self) -> usize {
        match &self.reader {
            FormatReader::Marked(reader) => reader
                .calls
                .as_ref()
                .map_or(0, |calls| calls.marked.calls() + calls.bare_calls),
            FormatReader::Channels(reader) => reader.calls(),
        }
    }

    /// Whether the model still thinks.
    pub fn thinks(&self) -> bool {
        match &self.reader {
            FormatReader::Marked(reader) => reader
                .thoughts
                .as_ref()
                .is_some_and(ThoughtSplitter::within),
            FormatReader::Channels(reader) => reader.thinks(),
        }
    }
}

impl MarkedReader {
    fn push(&mut self, text: String, parts: &mut Vec<SpokenPart>) {
        let told = match &mut self.thoughts {
            Some(thoughts) => thoughts.push(&text),
            None => Told {
                thought: String::new(),
                said: text,
            },
        };
        self.take(told, parts);
    }

    fn finish(&mut self, parts: &mut Vec<SpokenPart>) {
        let told = self.thoughts.as_mut().map(ThoughtSplitter::finish);
        self.take(told.unwrap_or_default(), parts);
        if let Some(calls) = &mut self.calls {
            calls.finish(parts);
        }
    }

    fn take(&mut self, told: Told, parts: &mut Vec<SpokenPart>) {
        add_part(parts, SpokenPart::Thought(told.thought));
        match &mut self.calls {
            _ if told.said.is_empty() => {}
            Some(calls) => calls.push(told.said, parts),
            None => add_part(parts, SpokenPart::Text(told.said)),
        }
    }
}

impl SaidReader {
    fn push(&mut self, text: String, parts: &mut Vec<SpokenPart>) {
        let text = match &mut self.bare {
            Some(bare) => bare.push(&text),
            None => text,
        };
        self.marked.push(&text, parts);
    }

    fn finish(&mut self, parts: &mut Vec<SpokenPart>) {
        match self.bare.as_mut().map(BareCallFinder::finish) {
            Some(Ok(calls)) => {
                self.bare_calls = calls.len();
                let whole = |(name, arguments)| SpokenPart::Call { name, arguments };
                parts.extend(calls.into_iter().map(whole));
                return;
            }
            Some(Err(text)) => self.marked.push(&text, parts),
            None => {}
        }
        self.marked.finish(parts);
    }
}

#[cfg(test)]
mod tests;
