//! `format`: what the text has to be.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::job::AnswerShape;
use crate::reading::loose::Loose;

/// What the text has to be; `None` where it may be anything.
pub(crate) struct Format(pub(crate) Option<AnswerShape>);

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrSchema)
    }
}

impl JsonSchema for Format {
    fn schema_name() -> Cow<'static, str> {
        "OllamaFormat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`json` for a JSON object, or a JSON Schema.",
            "anyOf": [{ "type": "string", "enum": ["", "json"] }, { "type": "object" }],
        })
    }
}

struct WordOrSchema;

impl<'de> Visitor<'de> for WordOrSchema {
    type Value = Format;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`json` or a JSON Schema")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Format, E> {
        match word {
            "" => Ok(Format(None)),
            "json" => Ok(Format(Some(AnswerShape::Object))),
            _ => Err(E::custom("it is neither `json` nor a JSON Schema")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Format, A::Error> {
        let schema = Loose::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Format(Some(AnswerShape::Schema(schema.0))))
    }
}
