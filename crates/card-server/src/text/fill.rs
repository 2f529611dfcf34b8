//! Tokens by which a model fills in the middle of a text (FIM; arXiv 2207.14255).

use card_core::types::Token;

use super::{Tokenizer, behind_begin};

/// The names of the tokens before the prefix, the suffix and the middle, model by model.
const FORMS: [FillMarks; 8] = [
    // Qwen2.5-Coder, Qwen3-Coder, Seed-Coder.
    form("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    // StarCoder2, Granite, CodeGemma's old names.
    form("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    // StarCoder, SantaCoder.
    form("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    // DeepSeek-Coder: its hole stands where the suffix begins.
    form("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    // GLM-4.5.
    form("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    // Mellum, Refact.
    form("<PRE>", "<SUF>", "<MID>"),
    // CodeLlama.
    form("▁<PRE>", "▁<SUF>", "▁<MID>"),
    // Codestral's words where a vocabulary has all three.
    form("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
];

/// The names of the tokens that stand before the three parts of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FillMarks {
    /// Before what stands before the text that is written.
    pub(crate) prefix: &'static str,
    /// Before what stands behind it.
    pub(crate) suffix: &'static str,
    /// Before the text itself.
    pub(crate) middle: &'static str,
}

const fn form(prefix: &'static str, suffix: &'static str, middle: &'static str) -> FillMarks {
    FillMarks {
        prefix,
        suffix,
        middle,
    }
}

impl FillMarks {
    /// The marks of this vocabulary, whose texts begin with the tokens `begin`; `None` if it has
    /// none, so that its model was not trained to fill in.
    pub(crate) fn of(tokenizer: &dyn Tokenizer, begin: &[Token]) -> Option<Self> {
        let is_token = |name: &str| {
            let tokens = tokenizer.tokenize(name, true).unwrap_or_default();
            match behind_begin(&tokens, begin) {
                &[token] => tokenizer.piece(token, true) == name.as_bytes(),
                _ => false,
            }
        };
        let whole = |f: &FillMarks| is_token(f.prefix) && is_token(f.suffix) && is_token(f.middle);
        FORMS.into_iter().find(whole)
    }

    /// A text to be filled in, in parts, each with whether names of control tokens in it mean
    /// those.
    pub(crate) fn parts<'a>(&self, prefix: &'a str, suffix: &'a str) -> [(&'a str, bool); 5] {
        [
            (self.prefix, true),
            (prefix, false),
            (self.suffix, true),
            (suffix, false),
            (self.middle, true),
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
        assert_eq!(marks, Some(FORMS[0]));
        let parts = FORMS[0].parts("a", "b");
        let text: String = parts.iter().map(|p| p.0).collect();
        assert_eq!(text, "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>");
        for names in [&["<|fim_prefix|>", "<|fim_suffix|>"][..], &[]] {
            assert_eq!(FillMarks::of(&NamedMark(names), &[1]), None);
        }
    }
}
