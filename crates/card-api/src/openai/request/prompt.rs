//! `prompt`, which comes in four ways.

use std::borrow::Cow;
use std::fmt;

use card_core::types::Token;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::job::PromptInput;
use crate::limits::{PROMPTS, TOKENS};
use crate::reading::bounded::room;
use crate::reading::number::{TokenId, Whole};

/// Prompts of a completion: a text, tokens, a list of texts, or a list of lists of tokens.
pub(crate) struct Prompts(pub(crate) Vec<PromptInput>);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyPrompts)
    }
}

impl JsonSchema for Prompts {
    fn schema_name() -> Cow<'static, str> {
        "Prompt".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let token = generator.subschema_for::<TokenId>();
        let tokens =
            json_schema!({ "type": "array", "items": token, "minItems": 1, "maxItems": TOKENS });
        let many = |items: &Schema| json_schema!({ "type": "array", "items": items, "minItems": 1, "maxItems": PROMPTS });
        let text = json_schema!({ "type": "string" });
        let (texts, lists) = (many(&text), many(&tokens));
        json_schema!({
            "description": "A text, tokens, texts, or lists of tokens.",
            "anyOf": [text, tokens, texts, lists],
        })
    }
}

struct OneOrManyPrompts;

impl<'de> Visitor<'de> for OneOrManyPrompts {
    type Value = Prompts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, tokens, a list of texts or a list of lists of tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Prompts, E> {
        Ok(Prompts(vec![PromptInput::Text(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompts, A::Error> {
        let mut prompts = Vec::new();
        let mut tokens = Vec::new();
        while let Some(item) = seq.next_element::<PromptItem>()? {
            match item {
                PromptItem::Token(token) => {
                    room::<A::Error>(tokens.len(), TOKENS)?;
                    tokens.push(token);
                }
                PromptItem::Prompt(prompt) => {
                    room::<A::Error>(prompts.len(), PROMPTS)?;
                    prompts.push(prompt);
                }
            }
            if !tokens.is_empty() && !prompts.is_empty() {
                let why = "tokens of one prompt and other prompts cannot be in the same list";
                return Err(A::Error::custom(why));
            }
        }
        if !tokens.is_empty() {
            prompts.push(PromptInput::Tokens(tokens));
        }
        if prompts.is_empty() {
            return Err(A::Error::custom("the prompt is empty"));
        }
        Ok(Prompts(prompts))
    }
}

/// What stands in a list: a token of the prompt, or a prompt.
enum PromptItem {
    Token(Token),
    Prompt(PromptInput),
}

impl<'de> Deserialize<'de> for PromptItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyPromptItem)
    }
}

struct AnyPromptItem;

impl<'de> Visitor<'de> for AnyPromptItem {
    type Value = PromptItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token, a text or a list of tokens")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<PromptItem, E> {
        TokenId::new(number.into()).map(|token| PromptItem::Token(token.0))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<PromptItem, E> {
        TokenId::new(number.into()).map(|token| PromptItem::Token(token.0))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<PromptItem, E> {
        TokenId::new(Whole::of::<E>(number)?).map(|token| PromptItem::Token(token.0))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<PromptItem, E> {
        Ok(PromptItem::Prompt(PromptInput::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PromptItem, A::Error> {
        let mut tokens = Vec::new();
        while let Some(token) = seq.next_element::<TokenId>()? {
            room::<A::Error>(tokens.len(), TOKENS)?;
            tokens.push(token.0);
        }
        if tokens.is_empty() {
            return Err(A::Error::custom("the prompt is empty"));
        }
        Ok(PromptItem::Prompt(PromptInput::Tokens(tokens)))
    }
}
