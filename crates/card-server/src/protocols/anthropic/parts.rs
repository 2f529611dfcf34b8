//! What of the model's text the client wants to see.

use card_api::answer_parts::{AnswerReader, SpokenPart};

/// What the client wishes of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AnswerWishes {
    /// Whether it does not want to see the thoughts.
    pub(super) hides_thoughts: bool,
    /// Whether at most one tool is called: what comes behind the first call is left out.
    pub(super) one_call: bool,
}

/// Reads the model's text, and leaves out what the client does not want.
pub(super) struct WishedParts {
    reader: AnswerReader,
    wishes: AnswerWishes,
    /// The whole calls so far.
    calls: usize,
}

impl WishedParts {
    /// The parts that this reader tells.
    pub(super) fn new(reader: AnswerReader, wishes: AnswerWishes) -> Self {
        WishedParts {
            reader,
            wishes,
            calls: 0,
        }
    }

    /// Takes more text; returns what is complete.
    pub(super) fn push(&mut self, text: String) -> Vec<SpokenPart> {
        let parts = self.reader.push(text);
        self.wished(parts)
    }

    /// The end: what was held back.
    pub(super) fn finish(&mut self) -> Vec<SpokenPart> {
        let parts = self.reader.finish();
        self.wished(parts)
    }

    /// The whole calls so far.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    fn wished(&mut self, parts: Vec<SpokenPart>) -> Vec<SpokenPart> {
        let mut wished = Vec::with_capacity(parts.len());
        for part in parts {
            if self.wishes.one_call && self.calls > 0 {
                break;
            }
            wished.push(match part {
                // An empty thought says that there are some.
                SpokenPart::Thought(_) if self.wishes.hides_thoughts => {
                    SpokenPart::Thought(String::new())
                }
                SpokenPart::Call { .. } | SpokenPart::CallEnd => {
                    self.calls += 1;
                    part
                }
                part => part,
            });
        }
        wished
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use card_api::answer_parts::Thinking;

    use super::*;

    const CALL: &str = "<tool_call>{\"name\":\"f\"}</tool_call>";

    fn parts(wishes: AnswerWishes, text: &str) -> (Vec<SpokenPart>, usize) {
        let reader = AnswerReader::new(Thinking::Never, Some(Arc::default()));
        let mut parts = WishedParts::new(reader, wishes);
        let mut all = parts.push(text.to_owned());
        all.extend(parts.finish());
        (all, parts.calls())
    }

    #[test]
    fn at_most_one_call_is_shown_where_one_is_wished() {
        let text = format!("a{CALL}{CALL} b");
        let all = parts(AnswerWishes::default(), &text);
        assert_eq!((all.0.len(), all.1), (4, 2));
        let one = AnswerWishes {
            one_call: true,
            ..AnswerWishes::default()
        };
        let (shown, calls) = parts(one, &text);
        let call = SpokenPart::Call {
            name: "f".to_owned(),
            arguments: "{}".to_owned(),
        };
        assert_eq!(shown, [SpokenPart::Text("a".to_owned()), call]);
        assert_eq!(calls, 1);
    }

    #[test]
    fn hidden_thoughts_are_empty() {
        let wishes = AnswerWishes {
            hides_thoughts: true,
            ..AnswerWishes::default()
        };
        let mut parts = WishedParts::new(AnswerReader::new(Thinking::Never, None), wishes);
        let thought = vec![SpokenPart::Thought("secret".to_owned())];
        assert_eq!(parts.wished(thought), [SpokenPart::Thought(String::new())]);
    }
}
