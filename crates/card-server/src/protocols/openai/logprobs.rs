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
                all.serialize_field("content", &Each(tokens.iter().map(entry_with_top)))?;
                all.serialize_field("refusal", &())?;
                all.end()
            }
            ChoiceLogprobs::Legacy(tokens) => {
                let mut all = serializer.serialize_struct("logprobs", 4)?;
                let text = |t: &PieceLogprob| String::from_utf8_lossy(&t.bytes).into_owned();
                all.serialize_field("tokens", &Each(tokens.iter().map(text)))?;
                let logprob = |t: &PieceLogprob| finite(t.logprob);
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

/// A token as a chat has it, with the most probable ones.
fn entry_with_top(token: &PieceLogprob) -> Value {
    let mut whole = entry(&token.bytes, token.logprob);
    let top = token.top.iter().map(|(bytes, p)| entry(bytes, *p));
    whole["top_logprobs"] = Value::Array(top.collect());
    whole
}

/// A token as a chat has it.
fn entry(bytes: &[u8], logprob: f32) -> Value {
    json!({ "token": String::from_utf8_lossy(bytes), "logprob": finite(logprob), "bytes": bytes })
}

/// The most probable tokens as a completion has them: log probabilities by text.
fn legacy_top(token: &PieceLogprob) -> Value {
    let pair = |(bytes, p): &(Vec<u8>, f32)| {
        (
            String::from_utf8_lossy(bytes).into_owned(),
            Value::from(finite(*p)),
        )
    };
    Value::Object(token.top.iter().map(pair).collect())
}

/// A log probability as JSON can have it. JSON knows no infinity; OpenAI writes -9999 for what
/// cannot be.
fn finite(logprob: f32) -> f32 {
    if logprob.is_nan() {
        return -9999.0;
    }
    logprob.clamp(-9999.0, 0.0)
}
