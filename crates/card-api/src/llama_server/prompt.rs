//! `prompt` at llama-server's paths: text and tokens may be mixed.

use std::borrow::Cow;
use std::fmt;

use card_core::types::Token;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{PARTS, PROMPTS, TOKENS};
use crate::reading::bounded::{Bounded, Name, room};
use crate::reading::fields::fields;
use crate::reading::number::{TokenId, Whole};
use crate::reading::strict::Anything;

/// Most spans of all prompts of a request together.
const SPANS: usize = 2 * PARTS;

/// Some of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptSpan {
    /// Text, in which names of control tokens are those tokens.
    Text(String),
    /// Tokens as they are.
    Tokens(Vec<Token>),
}

/// A prompt: spans one after the other. What begins every text of the model stands before the
/// first span, if that is text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MixedPrompt(pub Vec<PromptSpan>);

impl MixedPrompt {
    /// A prompt that is text.
    pub fn text(text: String) -> Self {
        MixedPrompt(vec![PromptSpan::Text(text)])
    }
}

/// A text, or a list of texts and tokens that are one text.
impl<'de> Deserialize<'de> for MixedPrompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrSpans)
    }
}

impl JsonSchema for MixedPrompt {
    fn schema_name() -> Cow<'static, str> {
        "MixedText".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let token = generator.subschema_for::<TokenId>();
        json_schema!({
            "description": "A text, or a list of texts and tokens which are one text together.",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "anyOf": [token, { "type": "string" }] } },
            ],
        })
    }
}

/// Prompts of a native completion.
pub(crate) type NativePrompts = ManyPrompts<{ PROMPTS }>;

/// Up to `MOST` prompts, or one that stands by itself.
pub(crate) struct ManyPrompts<const MOST: usize>(pub(crate) Vec<MixedPrompt>);

impl<'de, const MOST: usize> Deserialize<'de> for ManyPrompts<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyMixedPrompts::<MOST>)
    }
}

impl<const MOST: usize> JsonSchema for ManyPrompts<MOST> {
    fn schema_name() -> Cow<'static, str> {
        if MOST == PROMPTS {
            return "NativePrompts".into();
        }
        format!("Prompts_{MOST}").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let token = generator.subschema_for::<TokenId>();
        let object = generator.subschema_for::<PromptObject>();
        let text = json_schema!({ "type": "string" });
        let tokens = json_schema!({
            "type": "array", "items": token, "minItems": 1, "maxItems": TOKENS,
        });
        let texts = json_schema!({
            "type": "array", "items": text, "minItems": 1, "maxItems": MOST,
        });
        let many = json_schema!({
            "description": "Prompts of any of these kinds; lists in it may mix tokens and texts.",
            "type": "array", "items": tokens, "minItems": 1, "maxItems": MOST,
        });
        json_schema!({
            "description": "A text, tokens, a list in which tokens and texts are mixed, an object \
                            with the text, or a list of prompts.",
            "anyOf": [text, tokens, texts, many, object],
        })
    }
}

fields! {
    /// A prompt as an object: with `prompt_string`, or with `content`.
    struct PromptObject {
        /// The text.
        "prompt_string" => prompt_string: String,
        /// The text in parts, which stand one behind the other.
        "content" => content: Bounded<PromptPart, PARTS>,
        /// Not taken: this server reads text only.
        "multimodal_data" => multimodal_data: Anything,
    }

    /// A part of a prompt.
    struct PromptPart {
        /// `text`.
        #[schemars(required, rename = "type")]
        "type" => kind: Name,
        /// The text.
        #[schemars(required)]
        "text" => text: String,
    }
}

impl PromptPart {
    /// The text of a part.
    fn read<E: Error>(self) -> Result<String, E> {
        match self.kind.as_ref().map(|kind| kind.0.as_str()) {
            Some("text") => {}
            Some(other) => {
                return Err(E::custom(format_args!(
                    "parts of type {other:?} are not supported; this server reads text only"
                )));
            }
            None => return Err(E::custom("a part needs a `type`")),
        }
        let none = || E::custom("a part of type `text` needs a `text`");
        self.text.ok_or_else(none)
    }
}

impl PromptObject {
    fn read<'de, A: MapAccess<'de>>(map: A) -> Result<MixedPrompt, A::Error> {
        let object = PromptObject::deserialize(MapAccessDeserializer::new(map))?;
        if object.multimodal_data.is_some() {
            let why = "`multimodal_data` is not supported; this server reads text only";
            return Err(A::Error::custom(why));
        }
        if let Some(text) = object.prompt_string {
            return Ok(MixedPrompt::text(text));
        }
        let none = || A::Error::custom("a prompt object needs `prompt_string` or `content`");
        let parts = object.content.ok_or_else(none)?.0.into_iter();
        let texts = parts.map(PromptPart::read::<A::Error>);
        texts.collect::<Result<String, _>>().map(MixedPrompt::text)
    }
}

/// Spans as they come in.
#[derive(Default)]
struct Spans {
    list: Vec<PromptSpan>,
    /// Tokens in all of them.
    tokens: usize,
}

impl Spans {
    fn token<E: Error>(&mut self, token: Token) -> Result<(), E> {
        room::<E>(self.tokens, TOKENS)?;
        self.tokens += 1;
        match self.list.last_mut() {
            Some(PromptSpan::Tokens(list)) => list.push(token),
            _ => self.list.push(PromptSpan::Tokens(vec![token])),
        }
        Ok(())
    }

    fn text<E: Error>(&mut self, text: String) -> Result<(), E> {
        room::<E>(self.list.len(), SPANS)?;
        self.list.push(PromptSpan::Text(text));
        Ok(())
    }
}

/// Reads a text, or a list of texts and tokens.
struct TextOrSpans;

impl<'de> Visitor<'de> for TextOrSpans {
    type Value = MixedPrompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a list of texts and tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MixedPrompt, E> {
        Ok(MixedPrompt::text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<MixedPrompt, A::Error> {
        let mut spans = Spans::default();
        while let Some(item) = seq.next_element::<SpanItem>()? {
            match item {
                SpanItem::Token(token) => spans.token::<A::Error>(token)?,
                SpanItem::Text(text) => spans.text::<A::Error>(text)?,
            }
        }
        Ok(MixedPrompt(spans.list))
    }
}

/// What stands in a list that is one prompt.
enum SpanItem {
    Token(Token),
    Text(String),
}

impl<'de> Deserialize<'de> for SpanItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(AnyItem)? {
            MixedItem::Token(token) => Ok(SpanItem::Token(token)),
            MixedItem::Text(text) => Ok(SpanItem::Text(text)),
            MixedItem::Prompt(_) => Err(D::Error::custom("expected a token or a text")),
        }
    }
}

/// What stands in a list of a request: a span of its only prompt, or a prompt.
enum MixedItem {
    Token(Token),
    Text(String),
    Prompt(MixedPrompt),
}

impl<'de> Deserialize<'de> for MixedItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyItem)
    }
}

struct AnyItem;

impl<'de> Visitor<'de> for AnyItem {
    type Value = MixedItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token, a text, a list of those, or an object with prompt_string")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<MixedItem, E> {
        TokenId::new(number.into()).map(|token| MixedItem::Token(token.0))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<MixedItem, E> {
        TokenId::new(number.into()).map(|token| MixedItem::Token(token.0))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<MixedItem, E> {
        TokenId::new(Whole::of::<E>(number)?).map(|token| MixedItem::Token(token.0))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<MixedItem, E> {
        Ok(MixedItem::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<MixedItem, A::Error> {
        let prompt = TextOrSpans.visit_seq(seq)?;
        if prompt.0.is_empty() {
            return Err(A::Error::custom("the prompt is empty"));
        }
        Ok(MixedItem::Prompt(prompt))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MixedItem, A::Error> {
        PromptObject::read(map).map(MixedItem::Prompt)
    }
}

struct OneOrManyMixedPrompts<const MOST: usize>;

impl<'de, const MOST: usize> Visitor<'de> for OneOrManyMixedPrompts<MOST> {
    type Value = ManyPrompts<MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, tokens, a list that mixes them, an object, or a list of prompts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(ManyPrompts(vec![MixedPrompt::text(text.to_owned())]))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(ManyPrompts(vec![PromptObject::read(map)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mixed = "tokens of one prompt and other prompts cannot be in the same list";
        // As long as there are only texts, they may be prompts or spans of one.
        let (mut spans, mut prompts) = (Spans::default(), Vec::new());
        let mut all_spans = 0;
        while let Some(item) = seq.next_element::<MixedItem>()? {
            match item {
                MixedItem::Token(_) if !prompts.is_empty() => return Err(A::Error::custom(mixed)),
                MixedItem::Token(token) => spans.token::<A::Error>(token)?,
                MixedItem::Text(text) if prompts.is_empty() => spans.text::<A::Error>(text)?,
                MixedItem::Text(text) => prompts.push(MixedPrompt::text(text)),
                MixedItem::Prompt(_) if spans.tokens > 0 => return Err(A::Error::custom(mixed)),
                MixedItem::Prompt(prompt) => {
                    all_spans += prompt.0.len();
                    room::<A::Error>(all_spans.saturating_sub(1), SPANS)?;
                    prompts.extend(each_alone(&mut spans));
                    prompts.push(prompt);
                }
            }
            room::<A::Error>(prompts.len().saturating_sub(1), MOST)?;
        }
        if spans.tokens > 0 {
            prompts.push(MixedPrompt(spans.list));
        } else {
            prompts.extend(each_alone(&mut spans));
        }
        if prompts.is_empty() {
            return Err(A::Error::custom("the prompt is empty"));
        }
        room::<A::Error>(prompts.len() - 1, MOST)?;
        Ok(ManyPrompts(prompts))
    }
}

/// Each span as a prompt of its own.
fn each_alone(spans: &mut Spans) -> impl Iterator<Item = MixedPrompt> {
    let list = std::mem::take(&mut spans.list);
    list.into_iter().map(|span| MixedPrompt(vec![span]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<MixedPrompt>, serde_json::Error> {
        serde_json::from_str::<NativePrompts>(text).map(|p| p.0)
    }

    fn text(text: &str) -> PromptSpan {
        PromptSpan::Text(text.into())
    }

    #[test]
    fn a_prompt_comes_in_all_the_ways_that_llama_server_takes() {
        let a = || MixedPrompt::text("a".into());
        let tokens = |list: &[Token]| PromptSpan::Tokens(list.to_vec());
        let cases = [
            (r#""a""#, vec![a()]),
            (r#"{"prompt_string":"a"}"#, vec![a()]),
            (
                r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
                vec![MixedPrompt::text("ab".into())],
            ),
            ("[1,2.0]", vec![MixedPrompt(vec![tokens(&[1, 2])])]),
            (
                r#"[1,2,"b",3,"c"]"#,
                vec![MixedPrompt(vec![
                    tokens(&[1, 2]),
                    text("b"),
                    tokens(&[3]),
                    text("c"),
                ])],
            ),
            (
                r#"["b",3]"#,
                vec![MixedPrompt(vec![text("b"), tokens(&[3])])],
            ),
            (r#"["a","b"]"#, vec![a(), MixedPrompt::text("b".into())]),
            (
                r#"[[1,2],"a",{"prompt_string":"a"},[3,"b"]]"#,
                vec![
                    MixedPrompt(vec![tokens(&[1, 2])]),
                    a(),
                    a(),
                    MixedPrompt(vec![tokens(&[3]), text("b")]),
                ],
            ),
            (r#"["a",[1]]"#, vec![a(), MixedPrompt(vec![tokens(&[1])])]),
        ];
        for (body, prompts) in cases {
            assert_eq!(read(body).unwrap(), prompts, "{body}");
        }
    }

    #[test]
    fn what_is_no_prompt_is_refused() {
        for body in [
            "[]",
            "[[]]",
            "{}",
            "5",
            "null",
            "[1,[2]]",
            "[[1],2]",
            "[-1]",
            "[[[1]]]",
            r#"{"prompt_string":"a","multimodal_data":[]}"#,
            r#"{"content":"a"}"#,
            r#"{"content":[{"text":"a"}]}"#,
            r#"{"content":[{"type":"text"}]}"#,
            r#"{"content":[{"type":"image_url","image_url":{"url":"a"}}]}"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
        let many = |n: usize| format!("[{}\"a\"]", "\"a\",".repeat(n - 1));
        assert_eq!(read(&many(PROMPTS)).unwrap().len(), PROMPTS);
        assert!(read(&many(PROMPTS + 1)).is_err());
    }

    #[test]
    fn the_spans_of_all_prompts_are_bounded_together() {
        let prompt = |spans: usize| format!("[{}1]", "1,\"a\",".repeat(spans / 2));
        let prompts = |count: usize, spans: usize| {
            let list = vec![prompt(spans); count];
            format!("[{}]", list.join(","))
        };
        let eighth = SPANS / 8 - 1;
        assert_eq!(read(&prompts(8, eighth)).unwrap().len(), 8);
        assert!(read(&prompts(9, eighth)).is_err());
    }
}
