//! Log probabilities as answers have them.

use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::{Value, json};

use crate::generation::PieceLogprob;

/// The log probabilities of a choice, which are written as a chat or a completion has them. They
/// are kept as they come, since as JSON values they would take ten times the memory.
pub(super) enum ChoiceLogprobs {
    Chat(Vec<PieceLogprob>),
    Legacy(Vec<PieceLogprob>),
}

impl Serialize for ChoiceLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ChoiceLogprobs::Chat(tokens) => {
                let mut all = serializer.serialize_struct("logprobs", 2)?;
                all.serialize_field("content", &Each(tokens.iter().map(chat_entry)))?;
                all.serialize_field("refusal", &())?;
                all.end()
            }
            ChoiceLogprobs::Legacy(tokens) => {
                let mut all = serializer.serialize_struct("logprobs", 4)?;
                let text = |t: &PieceLogprob| legacy_text(&t.bytes);
                all.serialize_field("tokens", &Each(tokens.iter().map(text)))?;
                let logprob = |t: &PieceLogprob| t.logprob.map(finite);
                all.serialize_field("token_logprobs", &Each(tokens.iter().map(logprob)))?;
                all.serialize_field("text_offset", &Each(tokens.iter().map(|t| t.offset)))?;
                all.serialize_field("top_logprobs", &Each(tokens.iter().map(legacy_top)))?;
                all.end()
            }
        }
    }
}

/// A list whose members are made while it is written.
struct Each<I>(I);

impl<I: Iterator<Item = T> + Clone, T: Serialize> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// A token as a chat or a response has it, with the most probable ones.
pub(super) fn chat_entry(token: &PieceLogprob) -> Value {
    let mut whole = entry(&token.bytes, token.logprob.unwrap_or(f32::NAN));
    let top = token.top.iter().map(|(bytes, p)| entry(bytes, *p));
    whole["top_logprobs"] = Value::Array(top.collect());
    whole
}

/// A token as a chat has it.
fn entry(bytes: &[u8], logprob: f32) -> Value {
    json!({ "token": String::from_utf8_lossy(bytes), "logprob": finite(logprob), "bytes": bytes })
}

/// The most probable tokens as a completion has them: log probabilities by text. The token
/// itself is among them, though it may be less probable. Null for the first token of a prompt.
fn legacy_top(token: &PieceLogprob) -> Value {
    let Some(own) = token.logprob else {
        return Value::Null;
    };
    let top = token.top.iter().map(|(bytes, p)| (&bytes[..], *p));
    let own = (&token.bytes[..], own);
    let pair = |(bytes, p): (&[u8], f32)| (legacy_text(bytes), Value::from(finite(p)));
    Value::Object(top.chain([own]).map(pair).collect())
}

/// A token's text as a completion has it: what is no whole character is told as its bytes, as
/// OpenAI does, so that no two tokens have the same text for want of one.
fn legacy_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |text, byte| {
            text + &format!("\\x{byte:02x}")
        }),
    }
}

/// Where tokens begin in a text, in characters. A token that begins within a character begins
/// where the character does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextOffset(usize);

impl TextOffset {
    /// Where this token begins, and the next one behind it.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        let goes_on = |byte: u8| byte & 0xc0 == 0x80;
        let within = bytes.first().is_some_and(|&byte| goes_on(byte));
        let at = self.0 - usize::from(within && self.0 > 0);
        self.0 += bytes.iter().filter(|&&byte| !goes_on(byte)).count();
        at
    }
}

/// A log probability as JSON can have it. JSON knows no infinity; OpenAI writes -9999 for what
/// cannot be.
fn finite(logprob: f32) -> f32 {
    if logprob.is_nan() {
        return -9999.0;
    }
    logprob.clamp(-9999.0, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_no_characters_have_texts_and_places_of_their_own() {
        assert_eq!(legacy_text("é".as_bytes()), "é");
        assert_eq!(legacy_text(&[0xf0, 0x9f]), "bytes:\\xf0\\x9f");
        let mut offset = TextOffset::default();
        let tokens: [&[u8]; 6] = [
            b"ab",
            &[0xf0, 0x9f],
            &[0x8e],
            &[0x89],
            "éa".as_bytes(),
            b"b",
        ];
        let places: Vec<usize> = tokens.iter().map(|t| offset.pass(t)).collect();
        assert_eq!(places, [0, 2, 2, 2, 3, 5]);
    }

    #[test]
    fn the_token_itself_is_among_the_most_probable() {
        let token = PieceLogprob {
            token: 2,
            bytes: b"c".to_vec(),
            logprob: Some(-3.0),
            top: vec![(b"a".to_vec(), -0.5), (vec![0xff], -1.0)],
            top_tokens: vec![0, 1],
            offset: 0,
        };
        assert_eq!(
            legacy_top(&token),
            json!({ "a": -0.5, "bytes:\\xff": -1.0, "c": -3.0 })
        );
    }
}
