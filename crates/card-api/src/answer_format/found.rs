//! Which format an answer has: that of its family, found by the chat template.

use super::families;
use super::format::AnswerFormat;

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
