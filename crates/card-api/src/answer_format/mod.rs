//! In which words a model writes thoughts and calls: a table of families, found by the chat
//! template. Why the table is here and not in a library: docs/adr/0016.

mod families;
pub(crate) mod markup;

pub use markup::{CALL_BEGIN, CALL_END};

use markup::{CallBody, CallMark, NameForm, TaggedMarks, ThoughtMarks};

/// The words in which a family of models writes thoughts and calls.
#[derive(Debug)]
pub struct AnswerFormat {
    name: &'static str,
    /// Words of its chat templates: all of one of these lists are in one.
    signs: &'static [&'static [&'static str]],
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
    call_end: &'static str,
    /// Whether the text is messages in channels (OpenAI's harmony format).
    pub(crate) channels: bool,
}

impl AnswerFormat {
    /// The format of models with this chat template; where it has no sign of a family, the format
    /// that most have: `<think>`, and `<tool_call>` around an object.
    pub fn of_template(template: &str) -> &'static AnswerFormat {
        let has = |sign: &[&str]| sign.iter().all(|word| template.contains(word));
        let mut families = families::FAMILIES.iter();
        let found = families.find(|family| family.signs.iter().any(|sign| has(sign)));
        found.unwrap_or(Self::by_default())
    }

    /// All formats there are.
    pub fn all() -> impl Iterator<Item = &'static AnswerFormat> {
        std::iter::once(Self::by_default()).chain(&families::FAMILIES)
    }

    /// The format of models that are not known, and of calls that a grammar forces.
    pub fn by_default() -> &'static AnswerFormat {
        &families::HERMES
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_by_words_of_its_template() {
        for (template, name) in [
            (
                "{{ '<|im_start|>' }}<tool_call>{{ call | tojson }}</tool_call>",
                "hermes",
            ),
            ("<tool_call>\n<function=f>\n<parameter=a>", "qwen-coder"),
            ("<tool_call>f\n<arg_key>k</arg_key>\n<arg_value>", "glm"),
            ("<think></think>[TOOL_CALLS]f[ARGS]", "mistral"),
            ("<|start|>assistant<|channel|>final<|message|>", "harmony"),
            ("'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'", "deepseek"),
            (
                "<|start_header_id|> {\"name\": f, \"parameters\": dictionary of",
                "llama-3",
            ),
            ("<|tool|>{{ tools }}<|/tool|>", "phi-4-mini"),
            ("<|tool_call|>{{ calls }}", "granite"),
            ("no sign of anything", "hermes"),
        ] {
            assert_eq!(
                AnswerFormat::of_template(template).name(),
                name,
                "{template}"
            );
        }
    }

    #[test]
    fn every_family_has_a_name_and_signs_of_its_own() {
        let mut names: Vec<&str> = families::FAMILIES.iter().map(AnswerFormat::name).collect();
        names.push(AnswerFormat::by_default().name());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), families::FAMILIES.len() + 1);
        for family in &families::FAMILIES {
            assert!(!family.signs.is_empty(), "{}", family.name);
            assert!(!family.marks().contains(&""), "{}", family.name);
        }
    }
}
