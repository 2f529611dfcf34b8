//! Calls of tools in a model's text: `<tool_call>` and `</tool_call>` around a JSON object,
//! as Qwen, Hermes and many others write them.

use serde_json::Value;

use crate::reading::loose::{Loose, within_budget};

/// What begins a call.
const OPEN: &str = "<tool_call>";
/// What ends a call.
const CLOSE: &str = "</tool_call>";

/// The text that begins a call.
pub const CALL_BEGIN: &str = OPEN;
/// The text that ends a call: where an answer may have one call only, the answer ends there.
pub const CALL_END: &str = CLOSE;

/// Longest call, in bytes. It is held back until it is whole; what is longer is text.
const LONGEST: usize = 1 << 20;

/// Most white space that waits for what comes after it, in bytes.
const MOST_BLANK: usize = 1024;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerPart {
    /// Text for the reader.
    Text(String),
    /// A call: name of the function, and its arguments as JSON text.
    Call(String, String),
}

/// Splits text as it streams into text and calls.
#[derive(Debug, Default)]
pub struct ToolCallSplitter {
    /// Text that is held back: it may belong to a mark or to a call.
    held: String,
    /// Bytes of `held` in which no mark begins, so that each byte is searched only once.
    looked: usize,
    /// White space that is held back next to a call. It is shown if text follows it, and dropped
    /// if a call does.
    blank: String,
    /// Whether [`OPEN`] came and [`CLOSE`] did not.
    inside: bool,
    /// Calls so far.
    calls: usize,
}

impl ToolCallSplitter {
    /// Takes more text; returns what is complete.
    pub fn push(&mut self, text: &str) -> Vec<AnswerPart> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        loop {
            let mark = if self.inside { CLOSE } else { OPEN };
            let found = self.held[self.looked..].find(mark);
            match found.map(|at| at + self.looked) {
                Some(at) if self.inside && at > LONGEST => parts.push(self.give_up()),
                Some(at) => {
                    let mut before = self.take(at + mark.len());
                    before.truncate(at);
                    if self.inside {
                        parts.push(self.call(&before, CLOSE));
                    } else {
                        parts.extend(self.text(before, true));
                    }
                    self.inside = !self.inside;
                }
                None if self.inside && self.held.len() >= LONGEST + CLOSE.len() => {
                    parts.push(self.give_up());
                }
                None if self.inside => {
                    self.looked = floor(&self.held, self.held.len().saturating_sub(mark.len() - 1));
                    break;
                }
                None => {
                    let keep = (1..OPEN.len())
                        .rev()
                        .find(|&n| self.held.ends_with(&OPEN[..n]));
                    let show = self.take(self.held.len() - keep.unwrap_or(0));
                    parts.extend(self.text(show, false));
                    break;
                }
            }
        }
        parts
    }

    /// The end: what was held back. A call that was not closed is one if it is whole;
    /// otherwise the reader sees what the model wrote, and nothing else.
    pub fn finish(&mut self) -> Vec<AnswerPart> {
        let rest = self.take(self.held.len());
        if std::mem::take(&mut self.inside) {
            return vec![self.call(&rest, "")];
        }
        self.text(rest, false).into_iter().collect()
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// The first bytes of what is held.
    fn take(&mut self, bytes: usize) -> String {
        self.looked = 0;
        self.held.drain(..bytes).collect()
    }

    /// Text for the reader. White space after a call, and before a mark, waits for what follows.
    fn text(&mut self, text: String, marked: bool) -> Option<AnswerPart> {
        let next_to_call = self.calls > 0 || marked;
        let room = self.blank.len() + text.len() <= MOST_BLANK;
        self.blank.push_str(&text);
        if self.blank.is_empty() || (next_to_call && room && self.blank.trim().is_empty()) {
            return None;
        }
        Some(AnswerPart::Text(std::mem::take(&mut self.blank)))
    }

    /// What is too long for a call is text.
    fn give_up(&mut self) -> AnswerPart {
        self.inside = false;
        let text = self.take(floor(&self.held, LONGEST));
        self.no_call(&text, "")
    }

    /// Not a call after all: the reader shall see what the model wrote.
    fn no_call(&mut self, text: &str, close: &str) -> AnswerPart {
        let blank = std::mem::take(&mut self.blank);
        AnswerPart::Text(format!("{blank}{OPEN}{text}{close}"))
    }

    /// The call that stands after [`OPEN`] and before `close`, if it is one.
    fn call(&mut self, text: &str, close: &str) -> AnswerPart {
        let parsed: Option<Loose> = within_budget(|| serde_json::from_str(text.trim())).ok();
        let parsed = parsed.map_or(Value::Null, |p| p.0);
        let Some(name) = parsed["name"].as_str() else {
            return self.no_call(text, close);
        };
        self.calls += 1;
        self.blank.clear();
        let arguments = match parsed.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "{}".to_owned(),
        };
        AnswerPart::Call(name.to_owned(), arguments)
    }
}

/// The last beginning of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|&i| text.is_char_boundary(i))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&str]) -> Vec<AnswerPart> {
        let mut s = ToolCallSplitter::default();
        let mut parts: Vec<AnswerPart> = pieces.iter().flat_map(|p| s.push(p)).collect();
        parts.extend(s.finish());
        parts
    }

    /// What the reader sees of an answer in which nothing is called.
    fn shown(parts: &[AnswerPart]) -> String {
        parts
            .iter()
            .map(|p| match p {
                AnswerPart::Text(t) => t.as_str(),
                AnswerPart::Call(..) => panic!("a call"),
            })
            .collect()
    }

    #[test]
    fn finds_calls_in_a_stream() {
        let parts = split(&[
            "Let me see. <tool",
            "_call>\n{\"name\": \"f\", \"argu",
            "ments\": {\"a\": 1}}\n</tool_call>\n<tool_call>{\"name\":\"g\"}",
        ]);
        let text = AnswerPart::Text("Let me see. ".into());
        let f = AnswerPart::Call("f".into(), "{\"a\":1}".into());
        assert_eq!(parts, [text, f, AnswerPart::Call("g".into(), "{}".into())]);
    }

    #[test]
    fn what_is_no_call_is_shown_as_the_model_wrote_it() {
        for text in [
            "a < b <tool_call>nonsense</tool_call>",
            // Cut off by `max_tokens`: nothing is closed that the model did not close.
            "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\"",
            "<tool_call>",
            "x <tool_call>{}</tool_cal",
            "\n\n<tool_call>\n</tool_call>\n",
            "é<tool_call>é</tool_call>é",
        ] {
            assert_eq!(shown(&split(&[text])), text);
            for cut in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
                let (before, after) = text.split_at(cut);
                assert_eq!(shown(&split(&[before, after])), text, "{cut}");
            }
        }
    }

    #[test]
    fn white_space_is_for_the_reader_unless_a_call_is_next_to_it() {
        let call = "<tool_call>{\"name\":\"f\"}</tool_call>";
        let f = AnswerPart::Call("f".into(), "{}".into());
        let text = format!("\n{call}\n{call}\n");
        assert_eq!(split(&[&text]), [f.clone(), f.clone()]);
        let parts = split(&[call, "\n", "\n", "done"]);
        assert_eq!(parts, [f, AnswerPart::Text("\n\ndone".into())]);
    }

    #[test]
    fn no_more_is_held_back_than_a_call_may_have() {
        let mut splitter = ToolCallSplitter::default();
        let mut seen = String::new();
        let piece = "é".repeat(1 << 15);
        splitter.push(OPEN);
        for _ in 0..40 {
            seen.push_str(&shown(&splitter.push(&piece)));
            assert!(splitter.held.len() <= LONGEST + CLOSE.len() + piece.len());
        }
        seen.push_str(&shown(&splitter.finish()));
        assert_eq!(seen, format!("{OPEN}{}", piece.repeat(40)));
        // Wherever it is cut, it is no call.
        let long = format!("{OPEN}{{\"name\":\"{}\"}}{CLOSE}", "x".repeat(LONGEST));
        let (before, after) = long.split_at(LONGEST);
        assert_eq!(shown(&split(&[before, after])), long);
        assert_eq!(shown(&split(&[&long])), long);
    }

    #[test]
    fn a_call_of_more_values_than_a_request_may_have_is_text() {
        let list = "[],".repeat(crate::limits::VALUES);
        let text = format!("{OPEN}{{\"name\":\"f\",\"arguments\":[{list}0]}}{CLOSE}");
        assert_eq!(shown(&split(&[&text])), text);
    }
}
