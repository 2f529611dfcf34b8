//! A model's vocabulary and chat template, as the server asks for them.

use card_core::types::Token;
use card_llama::{ChatTemplate, Vocab};
use card_server::{Template, Tokenizer};
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
