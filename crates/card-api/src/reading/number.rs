//! Numbers of a request. Each type knows its range: what is outside of it does not parse.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use card_core::types::Token;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{self, NumberRange};

/// A whole number from `MIN` to `MAX`. JSON knows one kind of number: 4.0 is 4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Int<const MIN: i64, const MAX: i64>(pub(crate) i64);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(Whole)?;
        match i64::try_from(value) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Int(number)),
            _ => Err(D::Error::custom(format_args!(
                "{value} is not within {MIN} to {MAX}"
            ))),
        }
    }
}

impl<const MIN: i64, const MAX: i64> JsonSchema for Int<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Int_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// How many of the most probable tokens to report.
pub(crate) type LogprobCount = Int<0, { limits::LOGPROBS }>;

/// The number of a token; whether the model has it, the server knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TokenId(pub(crate) Token);

type AnyToken = Int<0, { limits::TOKEN }>;

impl TokenId {
    /// The token of this number.
    pub(crate) fn new<E: Error>(number: i128) -> Result<Self, E> {
        let most = i128::from(limits::TOKEN);
        match Token::try_from(number) {
            Ok(token) if number <= most => Ok(TokenId(token)),
            _ => Err(E::custom(format_args!(
                "{number} is not within 0 to {most}"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TokenId::new(deserializer.deserialize_any(Whole)?)
    }
}

impl JsonSchema for TokenId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Token".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        AnyToken::json_schema(generator)
    }
}

/// Most tokens to write, or -1 for no limit, as llama.cpp's clients have it; whether 0 makes
/// sense the path knows. What
/// is more than 4 billion is no limit either.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MaxTokens(pub(crate) Option<u32>);

impl<'de> Deserialize<'de> for MaxTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Whole)? {
            -1 => Ok(MaxTokens(None)),
            most @ 0.. => Ok(MaxTokens(u32::try_from(most).ok())),
            other => Err(D::Error::custom(format_args!(
                "{other} is neither at least 0 nor -1, which is for no limit"
            ))),
        }
    }
}

impl JsonSchema for MaxTokens {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaxTokens".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": -1, "not": { "enum": [0] } })
    }
}

/// A seed: any number of 64 bits, with a sign or without. -1 is none, as llama.cpp's and
/// vLLM's clients have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seed(pub(crate) Option<u64>);

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(Whole)?;
        if value == -1 {
            return Ok(Seed(None));
        }
        let signed = i64::try_from(value).map(i64::cast_unsigned);
        match signed.or_else(|_| u64::try_from(value)) {
            Ok(seed) => Ok(Seed(Some(seed))),
            Err(_) => Err(D::Error::custom(format_args!(
                "{value} has more than 64 bits"
            ))),
        }
    }
}

impl JsonSchema for Seed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // The least one, -2^63, cannot be told from its neighbours by a reader of doubles.
        json_schema!({ "type": "integer", "maximum": u64::MAX })
    }
}

/// A number of the range `S`.
pub(crate) struct Real<S>(pub(crate) f32, PhantomData<S>);

impl<'de, S: NumberRange> Deserialize<'de> for Real<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(AnyNumber)?;
        let (min, max) = (S::MIN, S::MAX);
        let low = if S::ABOVE { value <= min } else { value < min };
        // Not a number is neither low nor high.
        if low || value > max || value.is_nan() {
            return Err(D::Error::custom(if S::ABOVE {
                format!("{value} is not above {min} and at most {max}")
            } else {
                format!("{value} is not within {min} to {max}")
            }));
        }
        Ok(Real(value as f32, PhantomData))
    }
}

impl<S: NumberRange> JsonSchema for Real<S> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Real_{}_{}", S::MIN, S::MAX).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if S::ABOVE {
            json_schema!({ "type": "number", "exclusiveMinimum": S::MIN, "maximum": S::MAX })
        } else {
            json_schema!({ "type": "number", "minimum": S::MIN, "maximum": S::MAX })
        }
    }
}

/// Any whole number.
pub(crate) struct Whole;

impl Whole {
    /// A number with a point, if there is nothing after it.
    pub(crate) fn of<E: Error>(value: f64) -> Result<i128, E> {
        if value.fract() == 0.0 {
            return Ok(value as i128);
        }
        Err(E::invalid_value(Unexpected::Float(value), &Whole))
    }
}

impl Visitor<'_> for Whole {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<i128, E> {
        Whole::of(value)
    }
}

/// Any number.
struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::from_str;

    #[test]
    fn a_whole_number_may_have_a_point_and_nothing_after_it() {
        assert_eq!(from_str::<Int<1, 16>>("4.0").unwrap(), Int(4));
        for wrong in ["4.5", "0", "17", "1e30", "-1e30", "\"4\"", "[4]", "true"] {
            assert!(from_str::<Int<1, 16>>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        assert_eq!(from_str::<TokenId>("2147483647").unwrap().0, 2_147_483_647);
        for wrong in [
            "-1",
            "2147483648",
            "4294967296",
            "18446744073709551616",
            "0.5",
        ] {
            assert!(from_str::<TokenId>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_that_other_servers_take_are_taken() {
        let most = |text: &str| from_str::<MaxTokens>(text).map(|m| m.0);
        assert_eq!(most("-1").unwrap(), None);
        assert_eq!(most("4.0").unwrap(), Some(4));
        assert_eq!(most("100000000").unwrap(), Some(100_000_000));
        assert_eq!(most("99999999999").unwrap(), None);
        assert_eq!(most("0").unwrap(), Some(0));
        assert!(most("-2").is_err() && most("1.5").is_err());
    }

    #[test]
    fn every_seed_of_64_bits_is_one() {
        let seed = |text: &str| from_str::<Seed>(text).map(|s| s.0);
        assert_eq!(seed("-1").unwrap(), None);
        assert_eq!(seed("-2").unwrap(), Some(u64::MAX - 1));
        assert_eq!(seed("18446744073709551615").unwrap(), Some(u64::MAX));
        assert_eq!(seed("-9223372036854775808").unwrap(), Some(1 << 63));
        assert!(seed("36893488147419103232").is_err());
    }

    #[test]
    fn a_number_is_within_its_range() {
        let mass = |text: &str| from_str::<Real<limits::TopMass>>(text);
        assert!(mass("1").is_ok() && mass("0.5").is_ok());
        for wrong in ["0", "-0.0", "1.01", "1e300", "null", "\"1\""] {
            assert!(mass(wrong).is_err(), "{wrong}");
        }
        let heat = |text: &str| from_str::<Real<limits::Temperature>>(text);
        assert!(heat("0").is_ok() && heat("100").is_ok() && heat("100.1").is_err());
    }
}
