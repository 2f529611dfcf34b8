//! `stop` at llama-server's paths, where an empty text in the list is passed over.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::{STOP_BYTES, STOPS};
use crate::reading::bounded::{Text, room};

/// Empty ones end nothing.
type StopText = Text<0, STOP_BYTES>;

/// Texts that end an answer, none of them empty.
#[derive(Default)]
pub(crate) struct NativeStops(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for NativeStops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for NativeStops {
    fn schema_name() -> Cow<'static, str> {
        "NativeStop".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<StopText>();
        let items = generator.subschema_for::<StopText>();
        json_schema!({
            "description": "Texts that end an answer, each of at most 1024 bytes; empty ones are \
                            passed over.",
            "anyOf": [one, { "type": "array", "items": items, "maxItems": STOPS }],
        })
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = NativeStops;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<NativeStops, E> {
        let one = Some(StopText::new::<E>(text)?.0);
        Ok(NativeStops(
            one.into_iter().filter(|s| !s.is_empty()).collect(),
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NativeStops, A::Error> {
        let (mut list, mut seen) = (Vec::new(), 0);
        while let Some(stop) = seq.next_element::<StopText>()? {
            room::<A::Error>(seen, STOPS)?;
            seen += 1;
            list.push(stop.0);
        }
        list.retain(|stop| !stop.is_empty());
        Ok(NativeStops(list))
    }
}
