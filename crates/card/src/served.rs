//! A model as the server asks for it: its vocabulary, its chat template, and what holds of its
//! text.

use card_core::types::Token;
use card_llama::{ChatTemplate, Vocab};
use card_server::{ExactnessAnswer, Template, Tokenizer};
use card_setup::Holds;
use serde_json::Value;

/// A vocabulary that is served.
pub struct ServedVocab(pub Vocab);

impl Tokenizer for ServedVocab {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String> {
        self.0.tokenize(text, special).map_err(|e| e.to_string())
    }

    fn piece(&self, token: Token, special: bool) -> Vec<u8> {
        self.0.piece(token, special)
    }

    fn end_tokens(&self) -> Vec<Token> {
        self.0.end_tokens()
    }

    fn control_texts(&self) -> Vec<String> {
        self.0.control_texts()
    }

    fn fingerprint(&self) -> u64 {
        self.0.fingerprint()
    }
}

/// A chat template that is served.
pub struct ServedTemplate(pub ChatTemplate);

impl Template for ServedTemplate {
    fn render(&self, messages: &Value, tools: Option<&Value>) -> Result<String, String> {
        let text = self.0.render_with_tools(messages, tools);
        text.map_err(|e| e.to_string())
    }

    fn knows_tools(&self) -> bool {
        self.0.knows_tools()
    }
}

/// What holds of the text, as a server says it.
pub fn served_exactness(holds: &Holds) -> ExactnessAnswer {
    ExactnessAnswer {
        level: holds.level.to_string(),
        means: holds.means.map(|m| m.name().to_owned()),
        kernels: holds.kernels.clone(),
        words: holds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use card_engine::selftest::{Exactness, Means};

    use super::*;

    #[test]
    fn what_holds_is_said_in_parts_too() {
        let mut holds = Holds {
            level: Exactness::Exact,
            means: Some(Means::AnyShape),
            kernels: "own kernels, AVX-512 VNNI".into(),
        };
        let told = served_exactness(&holds);
        assert_eq!(told.level, "exact");
        assert_eq!(told.means.as_deref(), Some("any-shape"));
        assert_eq!(told.words, holds.to_string());
        (holds.level, holds.means) = (Exactness::Fast, None);
        assert_eq!(served_exactness(&holds).means, None);
    }
}
