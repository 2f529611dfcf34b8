//! A format of answers: the marks of a family, and what is asked of them.

use super::markup::{self, CallBody, CallMark, NameForm, TaggedMarks, ThoughtMarks};

/// The words in which a family of models writes thoughts and calls.
#[derive(Debug)]
pub struct AnswerFormat {
    pub(super) name: &'static str,
    /// Words of its chat templates: all of one of these lists are in one.
    pub(super) signs: &'static [&'static [&'static str]],
    pub(crate) thoughts: ThoughtMarks,
    /// Marks that stand before calls and say nothing.
    pub(crate) sections: &'static [&'static str],
    /// Marks that begin a call.
    pub(crate) calls: &'static [CallMark],
    /// Marks that stand behind calls and say nothing.
    pub(crate) closers: &'static [&'static str],
    /// Marks that say nothing, wherever they stand in the answer.
    pub(crate) dropped: &'static [&'static str],
    /// What ends every call and is no part of it; empty where nothing does.
    pub(super) call_end: &'static str,
    /// Whether the text is messages in channels (OpenAI's harmony format).
    pub(crate) channels: bool,
}

impl AnswerFormat {
    /// The family's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What begins a thought. A prompt that ends with it ends within the thoughts.
    pub fn thought_open(&self) -> &'static str {
        self.thoughts.open
    }

    /// What ends a thought, and begins the answer.
    pub fn thought_close(&self) -> &'static str {
        self.thoughts.close
    }

    /// What begins an answer without thoughts; empty where nothing does.
    pub fn answer_open(&self) -> &'static str {
        if self.channels {
            "<|channel|>final<|message|>"
        } else {
            ""
        }
    }

    /// Whether an answer may end where this text begins, and all of its first call was said.
    pub fn ends_calls_with(&self, text: &str) -> bool {
        !text.is_empty() && self.call_end == text
    }

    /// The marks that begin a call.
    pub fn call_opens(&self) -> impl Iterator<Item = &'static str> {
        let calls = self.calls.iter().map(|mark| mark.open);
        self.sections.iter().copied().chain(calls)
    }

    /// All texts with a meaning. A control token whose name is in one of them has to be seen by
    /// whoever reads the text.
    pub fn marks(&self) -> Vec<&'static str> {
        let mut marks = vec![self.thoughts.open, self.thoughts.close];
        marks.extend(self.call_opens());
        marks.extend(self.closers);
        for mark in self.calls {
            match mark.body {
                CallBody::Tagged(tags) => marks.extend(tagged(tags)),
                CallBody::Mixed => {
                    marks.extend(tagged(&markup::FUNCTION));
                    marks.extend(tagged(&markup::ARG_KEY));
                }
                CallBody::Named(NameForm::Kimi) => marks.push("<|tool_call_argument_begin|>"),
                CallBody::Named(NameForm::DeepSeek) => marks.push("<｜tool▁sep｜>"),
                CallBody::Named(NameForm::Mistral) => marks.extend(["[ARGS]", "[CALL_ID]"]),
                CallBody::Gemma => marks.push("<|\"|>"),
                CallBody::Json | CallBody::Keyed | CallBody::Python | CallBody::PythonOrJson => {}
            }
        }
        if self.channels {
            marks.extend(["<|constrain|>", "<|call|>", "<|return|>"]);
        }
        marks.retain(|mark| !mark.is_empty());
        marks
    }
}

fn tagged(tags: &TaggedMarks) -> [&'static str; 6] {
    [
        tags.argument_open,
        tags.argument_name_end,
        tags.value_open,
        tags.argument_close,
        tags.call_close,
        tags.also_over,
    ]
}
