//! `logit_bias` at llama-server's paths: by token or by text, as an object or a list of pairs.

use std::borrow::Cow;
use std::fmt;

use card_core::sampler::Bias;
use card_core::types::Token;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{BIASES, NativeBias, TOKEN};
use crate::reading::bounded::{Name, room};
use crate::reading::number::{Real, TokenId, Whole};

/// What has a bias.
#[derive(Clone, Debug, PartialEq)]
pub enum BiasedText {
    /// A token.
    Token(Token),
    /// Every token of this text.
    Text(String),
}

/// Biases as they came, in their order.
#[derive(Default)]
pub(crate) struct NativeBiases(pub(crate) Vec<(BiasedText, Bias)>);

impl<'de> Deserialize<'de> for NativeBiases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairsOrObject)
    }
}

impl JsonSchema for NativeBiases {
    fn schema_name() -> Cow<'static, str> {
        "NativeLogitBias".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let number = generator.subschema_for::<Real<NativeBias>>();
        json_schema!({
            "description": "Added to the logits of tokens, or of all tokens of a text; false bans. \
                            An object, or a list of pairs.",
            "anyOf": [
                {
                    "type": "object",
                    "additionalProperties": { "anyOf": [number, { "const": false }] },
                    "maxProperties": BIASES,
                },
                { "type": "array", "items": { "type": "array" }, "maxItems": BIASES },
            ],
        })
    }
}

struct PairsOrObject;

impl<'de> Visitor<'de> for PairsOrObject {
    type Value = NativeBiases;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a list of pairs of a token or a text and its bias")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NativeBiases, A::Error> {
        let mut list = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            room::<A::Error>(list.len(), BIASES)?;
            let key = of_name::<A::Error>(&name)?;
            let bias: AnyBias = map.next_value()?;
            list.push((key, bias.0));
        }
        Ok(NativeBiases(list))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NativeBiases, A::Error> {
        let mut list = Vec::new();
        while let Some(Pair(key, bias)) = seq.next_element()? {
            room::<A::Error>(list.len(), BIASES)?;
            list.push((key, bias));
        }
        Ok(NativeBiases(list))
    }
}

/// The name of a field: the number of a token if it is a number, a text otherwise.
fn of_name<E: Error>(name: &str) -> Result<BiasedText, E> {
    let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    if !digits {
        return Name::new::<E>(name).map(|name| BiasedText::Text(name.0));
    }
    let token = name.parse().ok().filter(|&t: &Token| i64::from(t) <= TOKEN);
    let why = || E::custom(format_args!("{name:?} is not the number of a token"));
    token.map(BiasedText::Token).ok_or_else(why)
}

/// A pair: a token or a text, and its bias.
struct Pair(BiasedText, Bias);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, bias) = <(BiasKey, AnyBias)>::deserialize(deserializer)?;
        Ok(Pair(key.0, bias.0))
    }
}

struct BiasKey(BiasedText);

impl<'de> Deserialize<'de> for BiasKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokenOrText).map(BiasKey)
    }
}

struct TokenOrText;

impl Visitor<'_> for TokenOrText {
    type Value = BiasedText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token or a text")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<BiasedText, E> {
        TokenId::new(number.into()).map(|token| BiasedText::Token(token.0))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<BiasedText, E> {
        TokenId::new(number.into()).map(|token| BiasedText::Token(token.0))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<BiasedText, E> {
        TokenId::new(Whole::of::<E>(number)?).map(|token| BiasedText::Token(token.0))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<BiasedText, E> {
        Name::new::<E>(text).map(|name| BiasedText::Text(name.0))
    }
}

/// A number, or false for a ban.
struct AnyBias(Bias);

impl<'de> Deserialize<'de> for AnyBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrFalse).map(AnyBias)
    }
}

struct NumberOrFalse;

impl NumberOrFalse {
    fn number<E: Error>(value: f64) -> Result<Bias, E> {
        let most = Bias::MOST;
        let why = || E::custom(format_args!("{value} is not within -{most} to {most}"));
        Bias::add(value as f32).ok_or_else(why)
    }
}

impl Visitor<'_> for NumberOrFalse {
    type Value = Bias;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Bias, E> {
        if value {
            return Err(E::custom("a bias is a number, or false for a ban"));
        }
        Ok(Bias::Ban)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Bias, E> {
        Self::number(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Bias, E> {
        Self::number(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Bias, E> {
        Self::number(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(BiasedText, Bias)>, serde_json::Error> {
        serde_json::from_str::<NativeBiases>(text).map(|b| b.0)
    }

    #[test]
    fn biases_come_by_token_and_by_text_in_both_forms() {
        let token = |t| BiasedText::Token(t);
        let text = |t: &str| BiasedText::Text(t.into());
        let add = |x| Bias::add(x).unwrap();
        assert_eq!(
            read(r#"[[5,-100],[" the ",1.5],[7,false]]"#).unwrap(),
            [
                (token(5), add(-100.0)),
                (text(" the "), add(1.5)),
                (token(7), Bias::Ban)
            ]
        );
        assert_eq!(
            read(r#"{"5":-1,"the":2,"7":false}"#).unwrap(),
            [
                (token(5), add(-1.0)),
                (text("the"), add(2.0)),
                (token(7), Bias::Ban)
            ]
        );
        for wrong in [
            "5",
            "[5]",
            "[[5]]",
            "[[5,1,2]]",
            r#"[[5,"x"]]"#,
            "[[-1,1]]",
            "[[5,true]]",
            "[[5,1e9]]",
            r#"{"99999999999":1}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
