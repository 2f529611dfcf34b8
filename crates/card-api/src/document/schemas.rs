//! Schemas of types, each under its name.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

/// Schemas of types, each under its name. A type that clients send and one that they get are
/// described apart, since a field with a default may be left out only when it is sent.
pub(super) struct Schemas {
    asks: SchemaGenerator,
    tells: SchemaGenerator,
}

impl Schemas {
    /// None yet.
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|s| {
                s.definitions_path = Cow::Borrowed("/components/schemas");
                s.meta_schema = None;
            })
        };
        Schemas {
            asks: settings().for_deserialize().into_generator(),
            tells: settings().for_serialize().into_generator(),
        }
    }

    /// A type that clients send.
    pub(super) fn asked<T: JsonSchema>(&mut self) -> Value {
        self.asks.subschema_for::<T>().to_value()
    }

    /// A type that they get.
    pub(super) fn told<T: JsonSchema>(&mut self) -> Value {
        self.tells.subschema_for::<T>().to_value()
    }

    /// All schemas that were asked for, by their names.
    pub(super) fn all(mut self) -> Map<String, Value> {
        let mut all = self.asks.take_definitions(true);
        all.extend(self.tells.take_definitions(true));
        all
    }
}
