//! `stop`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{self, STOPS};
use crate::reading::bounded::{Text, room};

/// An empty one would end every answer before it begins.
type Stop = Text<1, { limits::STOP_BYTES }>;

/// Texts that end an answer: one, or a list.
#[derive(Default)]
pub(crate) struct Stops(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Stops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyStops)
    }
}

impl JsonSchema for Stops {
    fn schema_name() -> Cow<'static, str> {
        "Stop".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Stop>();
        let items = generator.subschema_for::<Stop>();
        json_schema!({
            "description": "Texts that end an answer, each of at most 1024 bytes.",
            "anyOf": [one, { "type": "array", "items": items, "maxItems": STOPS }],
        })
    }
}

struct OneOrManyStops;

impl<'de> Visitor<'de> for OneOrManyStops {
    type Value = Stops;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Stops, E> {
        Ok(Stops(vec![Stop::new::<E>(text)?.0]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Stops, A::Error> {
        let mut list = Vec::new();
        while let Some(stop) = seq.next_element::<Stop>()? {
            room::<A::Error>(list.len(), STOPS)?;
            list.push(stop.0);
        }
        Ok(Stops(list))
    }
}
