//! `speculation`: whether candidates may be verified for a request.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::job::Speculation;

/// The field as it came.
#[derive(Clone, Copy)]
pub(crate) struct SpeculationField(pub(crate) Speculation);

impl<'de> Deserialize<'de> for SpeculationField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AutoOrOff)
    }
}

impl JsonSchema for SpeculationField {
    fn schema_name() -> Cow<'static, str> {
        "Speculation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whether speculation may be used: `auto`, the default, or `off`.",
            "type": "string",
            "enum": ["auto", "off"],
        })
    }
}

struct AutoOrOff;

impl<'de> Visitor<'de> for AutoOrOff {
    type Value = SpeculationField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\" or \"off\"")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<SpeculationField, E> {
        match word {
            "auto" => Ok(SpeculationField(Speculation::Auto)),
            "off" => Ok(SpeculationField(Speculation::Off)),
            other => Err(E::custom(format_args!("{other:?} is not auto or off"))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SpeculationField, A::Error> {
        let name = map.next_key::<String>()?.unwrap_or_default();
        Err(A::Error::custom(format_args!(
            "this server does not do `speculation` with {name:?}: the rows of a forward are \
             shared by all requests; send \"auto\" or \"off\""
        )))
    }
}
