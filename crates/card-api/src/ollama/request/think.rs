//! `think`: whether the model thinks before it answers.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Whether to think. How much cannot be set: `low`, `medium` and `high` all mean to think.
pub(crate) struct Think(pub(crate) bool);

impl<'de> Deserialize<'de> for Think {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YesOrLevel)
    }
}

impl JsonSchema for Think {
    fn schema_name() -> Cow<'static, str> {
        "OllamaThink".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whether the model thinks before it answers. How much cannot be set: \
                            each of the words means to think.",
            "anyOf": [
                { "type": "boolean" },
                { "type": "string", "enum": ["low", "medium", "high"] },
            ],
        })
    }
}

struct YesOrLevel;

impl Visitor<'_> for YesOrLevel {
    type Value = Think;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, low, medium or high")
    }

    fn visit_bool<E: Error>(self, think: bool) -> Result<Think, E> {
        Ok(Think(think))
    }

    fn visit_str<E: Error>(self, level: &str) -> Result<Think, E> {
        match level {
            "low" | "medium" | "high" => Ok(Think(true)),
            _ => Err(E::custom("it is not true, false, low, medium or high")),
        }
    }
}
