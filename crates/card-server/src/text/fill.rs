//! Tokens by which a model fills in the middle of a text (FIM; arXiv 2207.14255).

use card_core::types::Token;

use super::{Tokenizer, behind_begin};

/// The names of the tokens before the prefix, the suffix and the middle, model by model.
const FORMS: [[&str; 3]; 9] = [
    // Qwen2.5-Coder, Qwen3-Coder, Seed-Coder.
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    // StarCoder2, Granite, CodeGemma's old names.
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    // StarCoder, SantaCoder.
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    // DeepSeek-Coder: its hole stands where the suffix begins.
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    // GLM-4.5.
    ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"],
    // Mellum, Refact.
    ["<PRE>", "<SUF>", "<MID>"],
    // CodeLlama.
    ["▁<PRE>", "▁<SUF>", "▁<MID>"],
    // Codestral's words where a vocabulary has all three.
    ["[PREFIX]", "[SUFFIX]", "[MIDDLE]"],
    // What llama.cpp looks for, too.
    ["<|prefix|>", "<|suffix|>", "<|middle|>"],
];
/// The names of the token before the name of a repository.
const REPOSITORY: [&str; 6] = [
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|repository|>",
];
/// The names of the token before the name of a file.
const FILE: [&str; 2] = ["<|file_sep|>", "<file_sep>"];

/// A token that stands before a part of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FillMark {
    /// Its name in the vocabulary.
    pub(crate) name: &'static str,
    /// Its number.
    pub(crate) token: Token,
}

/// The tokens that stand before the parts of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FillMarks {
    /// Before what stands before the text that is written.
    pub(crate) prefix: FillMark,
    /// Before what stands behind it.
    pub(crate) suffix: FillMark,
    /// Before the text itself.
    pub(crate) middle: FillMark,
    /// Before the name of a repository, where there is such a token.
    pub(crate) repository: Option<Token>,
    /// Before the name of a file, where there is such a token.
    pub(crate) file: Option<Token>,
}

impl FillMarks {
    /// The marks of this vocabulary, whose texts begin with the tokens `begin`; `None` if it has
    /// none, so that its model was not trained to fill in.
    pub(crate) fn of(tokenizer: &dyn Tokenizer, begin: &[Token]) -> Option<Self> {
        let mark = |name: &'static str| {
            let tokens = tokenizer.tokenize(name, true).unwrap_or_default();
            match behind_begin(&tokens, begin) {
                &[token] if tokenizer.piece(token, true) == name.as_bytes() => {
                    Some(FillMark { name, token })
                }
                _ => None,
            }
        };
        let first = |names: &[&'static str]| names.iter().find_map(|&name| Some(mark(name)?.token));
        FORMS.into_iter().find_map(|[prefix, suffix, middle]| {
            Some(FillMarks {
                prefix: mark(prefix)?,
                suffix: mark(suffix)?,
                middle: mark(middle)?,
                repository: first(&REPOSITORY),
                file: first(&FILE),
            })
        })
    }

    /// A text to be filled in, in parts, each with whether names of control tokens in it mean
    /// those.
    pub(crate) fn parts<'a>(&self, prefix: &'a str, suffix: &'a str) -> [(&'a str, bool); 5] {
        [
            (self.prefix.name, true),
            (prefix, false),
            (self.suffix.name, true),
            (suffix, false),
            (self.middle.name, true),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of bytes and the names of some tokens.
    struct NamedMark(&'static [&'static str]);

    impl Tokenizer for NamedMark {
        fn len(&self) -> usize {
            256 + self.0.len()
        }

        fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String> {
            let named = self.0.iter().position(|name| special && *name == text);
            Ok(match named {
                Some(i) => vec![1, 256 + i as Token],
                None => [1]
                    .into_iter()
                    .chain(text.bytes().map(Token::from))
                    .collect(),
            })
        }

        fn piece(&self, token: Token, _special: bool) -> Vec<u8> {
            match u8::try_from(token) {
                Ok(byte) => vec![byte],
                Err(_) => self.0[token as usize - 256].as_bytes().to_vec(),
            }
        }

        fn end_tokens(&self) -> Vec<Token> {
            Vec::new()
        }

        fn control_texts(&self) -> Vec<String> {
            Vec::new()
        }

        fn fingerprint(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_vocabulary_with_all_three_marks_can_fill_in() {
        let coder = NamedMark(&["<|fim_middle|>", "<|fim_prefix|>", "<|fim_suffix|>"]);
        let marks = FillMarks::of(&coder, &[1]);
        let mark = |name, token| FillMark { name, token };
        let wanted = FillMarks {
            prefix: mark("<|fim_prefix|>", 257),
            suffix: mark("<|fim_suffix|>", 258),
            middle: mark("<|fim_middle|>", 256),
            repository: None,
            file: None,
        };
        assert_eq!(marks, Some(wanted));
        let parts = wanted.parts("a", "b");
        let text: String = parts.iter().map(|p| p.0).collect();
        assert_eq!(text, "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>");
        for names in [&["<|fim_prefix|>", "<|fim_suffix|>"][..], &[]] {
            assert_eq!(FillMarks::of(&NamedMark(names), &[1]), None);
        }
    }

    #[test]
    fn the_names_of_every_form_are_found_and_forms_are_not_mixed() {
        for form in &FORMS {
            let marks = FillMarks::of(&NamedMark(form), &[1]);
            let names = marks.map(|m| [m.prefix.name, m.suffix.name, m.middle.name]);
            assert_eq!(names, Some(*form));
        }
        let mixed = NamedMark(&["<|fim_prefix|>", "<fim_suffix>", "<|fim_middle|>"]);
        assert_eq!(FillMarks::of(&mixed, &[1]), None);
        let whole = NamedMark(&["<PRE>", "<SUF>", "<MID>", "<reponame>", "<|file_sep|>"]);
        let marks = FillMarks::of(&whole, &[1]);
        let others = marks.map(|marks| (marks.repository, marks.file));
        assert_eq!(others, Some((Some(259), Some(260))));
    }
}
