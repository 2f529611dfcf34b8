//! `prompt`, which comes in four ways.

use std::borrow::Cow;
use std::fmt;

use card_core::types::Token;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::bounded::room;
use crate::limits::{PROMPTS, TOKENS};
use crate::number::{TokenId, Whole};

/// What goes before the text that is generated.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A conversation, for the model's chat template.
    Chat {
        /// The messages, as the template takes them.
        messages: Value,
        /// Tools the model may call.
        tools: Option<Value>,
    },
    /// Text as it is.
    Text(String),
    /// Tokens as they are. Whether the model has them, only the server knows.
    Tokens(Vec<Token>),
}

/// Prompts of a completion: a text, tokens, a list of texts, or a list of lists of tokens.
pub(crate) struct Prompts(pub(crate) Vec<Prompt>);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
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

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Prompts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, tokens, a list of texts or a list of lists of tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Prompts, E> {
        Ok(Prompts(vec![Prompt::Text(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompts, A::Error> {
        let mut prompts = Vec::new();
        let mut tokens = Vec::new();
        while let Some(item) = seq.next_element::<Item>()? {
            match item {
                Item::Token(token) => {
                    room::<A::Error>(tokens.len(), TOKENS)?;
                    tokens.push(token);
                }
                Item::Prompt(prompt) => {
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
            prompts.push(Prompt::Tokens(tokens));
        }
        if prompts.is_empty() {
            return Err(A::Error::custom("the prompt is empty"));
        }
        Ok(Prompts(prompts))
    }
}

/// What stands in a list: a token of the prompt, or a prompt.
enum Item {
    Token(Token),
    Prompt(Prompt),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyItem)
    }
}

struct AnyItem;

impl<'de> Visitor<'de> for AnyItem {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token, a text or a list of tokens")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Item, E> {
        TokenId::new(number.into()).map(|token| Item::Token(token.0))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Item, E> {
        TokenId::new(number.into()).map(|token| Item::Token(token.0))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Item, E> {
        TokenId::new(Whole::of::<E>(number)?).map(|token| Item::Token(token.0))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Prompt(Prompt::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Item, A::Error> {
        let mut tokens = Vec::new();
        while let Some(token) = seq.next_element::<TokenId>()? {
            room::<A::Error>(tokens.len(), TOKENS)?;
            tokens.push(token.0);
        }
        match tokens.is_empty() {
            true => Err(A::Error::custom("the prompt is empty")),
            false => Ok(Item::Prompt(Prompt::Tokens(tokens))),
        }
    }
}
