//! What a model thinks before it answers: the text between two marks at the beginning of an
//! answer, like `<think>` and `</think>` as Qwen, DeepSeek and others write them.

use crate::answer_format::AnswerFormat;

/// Most white space before a thought, in bytes; an answer that begins with more is an answer.
const MOST_BLANK: usize = 1024;

/// Tells a model's thoughts from its answer as the text streams. It only goes on: before,
/// within and behind the thoughts.
#[derive(Debug)]
pub(crate) struct ThoughtSplitter {
    format: &'static AnswerFormat,
    /// Whether a call ends the thoughts.
    end_at_call: bool,
    stage: ThoughtStage,
    /// Text that may belong to a mark.
    held: String,
    /// White space is dropped until something else comes.
    at_edge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ThoughtStage {
    Before,
    Within,
    Behind,
}

/// Text as it was told apart.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// More of the thoughts.
    pub(crate) thought: String,
    /// More of the answer.
    pub(crate) said: String,
}

impl ThoughtSplitter {
    /// A splitter of an answer in this format; with `began` the prompt has begun the thought
    /// already. `calls` says whether there may be calls.
    pub(crate) fn new(format: &'static AnswerFormat, began: bool, calls: bool) -> Self {
        ThoughtSplitter {
            format,
            end_at_call: calls && format.thoughts.end_at_call,
            stage: if began {
                ThoughtStage::Within
            } else {
                ThoughtStage::Before
            },
            held: String::new(),
            at_edge: began,
        }
    }

    /// Takes more text; returns what is told apart by now.
    pub(crate) fn push(&mut self, text: &str) -> Told {
        let mut told = Told::default();
        self.held.push_str(text);
        if self.stage == ThoughtStage::Before {
            self.look_for_beginning();
        }
        if self.stage == ThoughtStage::Within {
            self.look_for_end(&mut told);
        }
        if self.stage == ThoughtStage::Behind {
            let said = std::mem::take(&mut self.held);
            told.said = self.without_edge(said);
        }
        told
    }

    /// The end: what was held back.
    pub(crate) fn finish(&mut self) -> Told {
        let rest = std::mem::take(&mut self.held);
        match self.stage {
            ThoughtStage::Within => Told {
                thought: self.without_edge(rest),
                said: String::new(),
            },
            ThoughtStage::Before | ThoughtStage::Behind => Told {
                thought: String::new(),
                said: rest,
            },
        }
    }

    /// Whether the text is within the thoughts.
    pub(crate) fn within(&self) -> bool {
        self.stage == ThoughtStage::Within
    }

    fn look_for_beginning(&mut self) {
        let marks = &self.format.thoughts;
        let text = self.held.trim_start();
        if self.held.len() - text.len() > MOST_BLANK {
            self.stage = ThoughtStage::Behind;
        } else if let Some(rest) = text.strip_prefix(marks.open) {
            self.held = rest.to_owned();
            self.stage = ThoughtStage::Within;
            self.at_edge = true;
        } else if let Some(rest) = text.strip_prefix(marks.close) {
            // The end of thoughts that have no beginning: there are none.
            self.held = rest.to_owned();
            self.stage = ThoughtStage::Behind;
            self.at_edge = true;
        } else if !marks.open.starts_with(text) && !marks.close.starts_with(text) {
            self.stage = ThoughtStage::Behind;
        }
    }

    fn look_for_end(&mut self, told: &mut Told) {
        let close = self.format.thoughts.close;
        let (at, found) = self.next_end();
        let rest = self.held.split_off(at);
        let thought = std::mem::replace(&mut self.held, rest);
        told.thought = self.without_edge(thought);
        if found {
            if self.held.starts_with(close) {
                self.held.drain(..close.len());
            }
            self.stage = ThoughtStage::Behind;
            self.at_edge = true;
        }
    }

    /// Where the thoughts end, or may; and whether they do.
    fn next_end(&self) -> (usize, bool) {
        let ends = || {
            let calls = self.format.call_opens().filter(|_| self.end_at_call);
            std::iter::once(self.format.thoughts.close).chain(calls)
        };
        for (at, _) in self.held.char_indices() {
            let rest = &self.held[at..];
            if ends().any(|mark| rest.starts_with(mark)) {
                return (at, true);
            }
            if ends().any(|mark| mark.starts_with(rest)) {
                return (at, false);
            }
        }
        (self.held.len(), false)
    }

    fn without_edge(&mut self, text: String) -> String {
        if !self.at_edge {
            return text;
        }
        let text = text.trim_start();
        self.at_edge = text.is_empty();
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(began: bool, pieces: &[&str]) -> (String, String) {
        let mut splitter = ThoughtSplitter::new(AnswerFormat::by_default(), began, false);
        let (mut thought, mut said) = (String::new(), String::new());
        let mut all: Vec<Told> = pieces.iter().map(|p| splitter.push(p)).collect();
        all.push(splitter.finish());
        for told in all {
            thought += &told.thought;
            said += &told.said;
        }
        (thought, said)
    }

    #[test]
    fn thoughts_are_told_apart_wherever_the_text_is_cut() {
        let cases = [
            (false, "<think>\nhm\n</think>\n\nyes", "hm\n", "yes"),
            (false, "\n<think>hm</think>yes <think>", "hm", "yes <think>"),
            (true, "hm</think>yes", "hm", "yes"),
            (false, "<think>never ends </thi", "never ends </thi", ""),
            (false, "<thin air", "", "<thin air"),
            (false, "</think>\nyes", "", "yes"),
            (false, "  plain", "", "  plain"),
            (false, "<think", "", "<think"),
            (true, "", "", ""),
        ];
        for (began, text, thought, said) in cases {
            let whole = (thought.to_owned(), said.to_owned());
            assert_eq!(split(began, &[text]), whole, "{text}");
            for cut in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
                let (before, after) = text.split_at(cut);
                assert_eq!(split(began, &[before, after]), whole, "{text} {cut}");
            }
        }
    }

    #[test]
    fn a_call_ends_the_thoughts_of_families_that_leave_out_the_mark() {
        let coder = AnswerFormat::of_template("<tool_call><function=f><parameter=a>");
        for (format, calls, thought) in [
            (coder, true, "hm "),
            (coder, false, "hm <tool_call>"),
            (AnswerFormat::by_default(), true, "hm <tool_call>"),
        ] {
            let mut splitter = ThoughtSplitter::new(format, true, calls);
            let mut told = splitter.push("hm <tool_");
            told.thought += &splitter.push("call>").thought;
            assert_eq!(told.thought, thought);
        }
    }
}
