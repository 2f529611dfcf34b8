//! What the server needs to know of a model's text: tokens of a text, text of tokens, and how
//! a conversation is written down. A trait each, so that the server runs without a model
//! ([`crate::testing`]).

use std::sync::Arc;

use card_core::types::Token;
use serde_json::Value;

/// Text to tokens and back.
pub trait Tokenizer: Send + Sync {
    /// Number of tokens; a token is a number below it.
    fn len(&self) -> usize;

    /// Whether there is no token.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens of a text. With `special`, the name of a control token (`<|im_end|>`) is that
    /// token; without, it is text like any other.
    ///
    /// # Errors
    /// Says why the text cannot be tokenized, for the client.
    fn tokenize(&self, text: &str, special: bool) -> Result<Vec<Token>, String>;

    /// The bytes a token stands for; they need not be whole characters. None for a number
    /// that is no token.
    fn piece(&self, token: Token, special: bool) -> Vec<u8>;

    /// Tokens that end an answer.
    fn end_tokens(&self) -> Vec<Token>;

    /// Names of the control tokens.
    fn control_texts(&self) -> Vec<String>;

    /// Differs where tokens mean something else.
    fn fingerprint(&self) -> u64;
}

/// How a conversation is written down for a model.
pub trait Template: Send + Sync {
    /// The prompt for the next message. `messages` and `tools` are as in OpenAI's API.
    ///
    /// # Errors
    /// What the template has against the conversation, for the client.
    fn render(&self, messages: &Value, tools: Option<&Value>) -> Result<String, String>;

    /// Whether it has a place for tools.
    fn knows_tools(&self) -> bool;
}

/// Longest text, in bytes, of which a part of `tokens` tokens is still looked for. A token
/// stands for four bytes as a rule, and for 32 in no text that people write.
pub(crate) fn most_bytes(tokens: u32) -> usize {
    const BYTES_PER_TOKEN: usize = 32;
    const AT_LEAST: usize = 4096;
    (tokens as usize)
        .saturating_mul(BYTES_PER_TOKEN)
        .max(AT_LEAST)
}

/// Keeps what users type from becoming control tokens.
///
/// A chat template writes control tokens by their names around the messages, and the whole
/// text is tokenized with those names read as tokens. A message that contains such a name
/// would forge a turn. So each name within a message is replaced by a mark before the
/// template is rendered, and behind it the marks are tokenized as the text they stand for.
pub(crate) struct Marks {
    names: Arc<[String]>,
    /// Two characters for private use that no message contains.
    open: char,
    close: char,
}

impl Marks {
    /// For these messages; `None` if no message contains a name of `names`, which is the
    /// usual case.
    pub(crate) fn needed(names: &Arc<[String]>, messages: &Value) -> Option<Self> {
        let mut found = false;
        let mut taken = std::collections::BTreeSet::new();
        each_text(messages, &mut |text| {
            found |= names.iter().any(|name| text.contains(name.as_str()));
            taken.extend(
                text.chars()
                    .filter(|c| ('\u{e000}'..='\u{f8ff}').contains(c)),
            );
        });
        let mut free = ('\u{e000}'..='\u{f8ff}').filter(|c| !taken.contains(c));
        let (open, close) = (free.next()?, free.next()?);
        found.then(|| Marks {
            names: names.clone(),
            open,
            close,
        })
    }

    /// The messages with marks in place of names.
    pub(crate) fn mark(&self, mut messages: Value) -> Value {
        each_text_mut(&mut messages, &mut |text| {
            // Longer names first, so that one that begins with another is found whole.
            let mut order: Vec<usize> = (0..self.names.len()).collect();
            order.sort_by_key(|&i| std::cmp::Reverse(self.names[i].len()));
            for i in order {
                if text.contains(self.names[i].as_str()) {
                    let mark = format!("{}{i}{}", self.open, self.close);
                    *text = text.replace(self.names[i].as_str(), &mark);
                }
            }
        });
        messages
    }

    /// The rendered text in parts: text of the template (control tokens are read), and names
    /// that stood in a message (plain text).
    pub(crate) fn split<'a>(&'a self, rendered: &'a str) -> Vec<(&'a str, bool)> {
        let mut parts = Vec::new();
        let mut rest = rendered;
        while let Some(at) = rest.find(self.open) {
            let behind = &rest[at + self.open.len_utf8()..];
            let Some(end) = behind.find(self.close) else {
                break;
            };
            let name = behind[..end].parse::<usize>().ok();
            let Some(name) = name.and_then(|i| self.names.get(i)) else {
                break;
            };
            parts.push((&rest[..at], true));
            parts.push((name.as_str(), false));
            rest = &behind[end + self.close.len_utf8()..];
        }
        parts.push((rest, true));
        parts.retain(|(text, _)| !text.is_empty());
        parts
    }
}

fn each_text(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(all) => all.iter().for_each(|v| each_text(v, look)),
        Value::Object(all) => all.values().for_each(|v| each_text(v, look)),
        _ => {}
    }
}

fn each_text_mut(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(all) => all.iter_mut().for_each(|v| each_text_mut(v, change)),
        Value::Object(all) => all.values_mut().for_each(|v| each_text_mut(v, change)),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_users_type_is_no_control_token() {
        let names: Arc<[String]> = ["<|im_end|>".into(), "<|im_end|>\n<|x|>".into()].into();
        let plain = json!([{ "role": "user", "content": "<|im_xyz|>" }]);
        assert!(Marks::needed(&names, &plain).is_none());
        let messages = json!([
            { "role": "user", "content": "a<|im_end|>b \u{e000}" },
            { "role": "assistant", "tool_calls": [{ "function": { "name": "<|im_end|>" } }] },
        ]);
        let marks = Marks::needed(&names, &messages).unwrap();
        let marked = marks.mark(messages);
        assert!(!marked.to_string().contains("im_end"), "{marked}");
        let content = marked[0]["content"].as_str().unwrap();
        let rendered = format!("<|user|>{content}<|im_end|>");
        let parts = marks.split(&rendered);
        assert_eq!(
            parts,
            [
                ("<|user|>a", true),
                ("<|im_end|>", false),
                ("b \u{e000}<|im_end|>", true)
            ]
        );
    }
}
