//! `logit_bias`.

use std::borrow::Cow;
use std::fmt;

use card_core::sampler::{Bias, LogitBias};
use card_core::types::Token;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{BIASES, BiasRange, TOKEN};
use crate::reading::bounded::room;
use crate::reading::number::Real;

/// What is added to the logit of a token that OpenAI's API commands (100).
const COMMAND: f32 = Bias::MOST;

/// Biases by the numbers of tokens.
#[derive(Default)]
pub(crate) struct Biases(pub(crate) LogitBias);

impl<'de> Deserialize<'de> for Biases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ByToken)
    }
}

impl JsonSchema for Biases {
    fn schema_name() -> Cow<'static, str> {
        "LogitBias".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Added to the logits of tokens, by their numbers; -100 bans, 100 commands.",
            "type": "object",
            "propertyNames": { "pattern": "^[0-9]{1,9}$" },
            "additionalProperties": generator.subschema_for::<Real<BiasRange>>(),
            "maxProperties": BIASES,
        })
    }
}

struct ByToken;

impl<'de> Visitor<'de> for ByToken {
    type Value = Biases;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the numbers of tokens for names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Biases, A::Error> {
        let mut list: Vec<(Token, Bias)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            room::<A::Error>(list.len(), BIASES)?;
            let token = token(&name).ok_or_else(|| {
                A::Error::custom(format_args!("{name:?} is not the number of a token"))
            })?;
            let given: Real<BiasRange> = map.next_value()?;
            let bias = bias(given.0)
                .ok_or_else(|| A::Error::custom(format_args!("{} is not a bias", given.0)))?;
            list.push((token, bias));
        }
        let most = || A::Error::custom(format_args!("there may be biases of {BIASES} tokens"));
        Ok(Biases(LogitBias::new(list).ok_or_else(most)?))
    }
}

fn token(name: &str) -> Option<Token> {
    let digits = name.bytes().all(|b| b.is_ascii_digit());
    let token: Token = name.parse().ok().filter(|_| digits)?;
    (i64::from(token) <= TOKEN).then_some(token)
}

/// OpenAI's -100 is a ban and 100 a command.
fn bias(given: f32) -> Option<Bias> {
    if given <= -100.0 {
        return Some(Bias::Ban);
    }
    Bias::add(if given >= 100.0 { COMMAND } else { given })
}
