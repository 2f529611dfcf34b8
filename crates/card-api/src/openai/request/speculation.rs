//! `speculation`: whether candidates may be verified for a request, and how many at a time.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::job::Speculation;
use crate::reading::fields::fields;
use crate::reading::number::Int;
use crate::reading::strict::Strict;

/// Most candidates that a request can bound itself to.
const MOST_ROWS: i64 = 1 << 16;

/// The field as it came.
#[derive(Clone, Copy)]
pub(crate) struct SpeculationField(pub(crate) Speculation);

impl<'de> Deserialize<'de> for SpeculationField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrBound)
    }
}

impl JsonSchema for SpeculationField {
    fn schema_name() -> Cow<'static, str> {
        "Speculation".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let bound = generator.subschema_for::<SpeculationBound>();
        json_schema!({
            "description": "Whether speculation may be used: `auto`, the default, `off`, or at most \
                            so many candidates in a forward.",
            "anyOf": [{ "type": "string", "enum": ["auto", "off"] }, bound],
        })
    }
}

fields! {
    /// How many candidates may be verified at a time.
    struct SpeculationBound {
        /// At most so many candidates of the request in a forward; 0 for none.
        #[schemars(required)]
        "max_rows" => max_rows: Int<0, MOST_ROWS>,
    }
}

struct WordOrBound;

impl<'de> Visitor<'de> for WordOrBound {
    type Value = SpeculationField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\", \"off\" or {\"max_rows\": n}")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<SpeculationField, E> {
        match word {
            "auto" => Ok(SpeculationField(Speculation::Auto)),
            "off" => Ok(SpeculationField(Speculation::Off)),
            other => Err(E::custom(format_args!("{other:?} is not auto or off"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SpeculationField, A::Error> {
        let bound: Strict<SpeculationBound> =
            Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        let most = bound.0.max_rows;
        let most = most.ok_or_else(|| A::Error::custom("it needs `max_rows`"))?;
        Ok(SpeculationField(match most.0 {
            0 => Speculation::Off,
            most => Speculation::Most(most as u32),
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reading::loose;

    #[test]
    fn a_bound_is_a_number_of_candidates() {
        let read = |text: &str| {
            let parse = || serde_json::from_str::<SpeculationField>(text).map(|field| field.0);
            loose::within_budget(parse)
        };
        assert_eq!(read("\"auto\"").unwrap(), Speculation::Auto);
        assert_eq!(read(r#"{"max_rows":3}"#).unwrap(), Speculation::Most(3));
        assert_eq!(read(r#"{"max_rows":0}"#).unwrap(), Speculation::Off);
        for wrong in [
            "{}",
            "true",
            "\"on\"",
            r#"{"max_rows":-1}"#,
            r#"{"max_rows":1,"x":2}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
