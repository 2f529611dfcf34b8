//! What a model thinks before it answers: the text between `<think>` and `</think>` at the
//! beginning of an answer, as Qwen, DeepSeek and others write it.

/// What begins a thought.
const OPEN: &str = "<think>";
/// What ends a thought.
const CLOSE: &str = "</think>";
/// Most white space before a thought, in bytes; an answer that begins with more is an answer.
const MOST_BLANK: usize = 1024;

/// Tells a model's thoughts from its answer as the text streams. It only goes on: before,
/// within and behind the thoughts.
#[derive(Debug)]
pub(crate) struct ThoughtSplitter {
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
    /// A splitter of an answer; with `began` the prompt has begun the thought already.
    pub(crate) fn new(began: bool) -> Self {
        ThoughtSplitter {
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
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(OPEN) {
            self.held = rest.to_owned();
            self.stage = ThoughtStage::Within;
            self.at_edge = true;
        } else if !OPEN.starts_with(text) || self.held.len() > MOST_BLANK {
            self.stage = ThoughtStage::Behind;
        }
    }

    fn look_for_end(&mut self, told: &mut Told) {
        if let Some(at) = self.held.find(CLOSE) {
            let rest = self.held.split_off(at + CLOSE.len());
            let mut thought = std::mem::replace(&mut self.held, rest);
            thought.truncate(at);
            told.thought = self.without_edge(thought);
            self.stage = ThoughtStage::Behind;
            self.at_edge = true;
            return;
        }
        let keep = (1..CLOSE.len())
            .rev()
            .find(|&n| self.held.ends_with(&CLOSE[..n]));
        let show = self.held.len() - keep.unwrap_or(0);
        let thought = self.held.drain(..show).collect();
        told.thought = self.without_edge(thought);
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
        let mut splitter = ThoughtSplitter::new(began);
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
}
