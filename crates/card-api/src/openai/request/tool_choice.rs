//! `tool_choice`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use crate::limits::NAME_BYTES;
use crate::offered_tool::OfferedTool;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;

/// Whether a tool has to be called.
pub(crate) enum ToolChoice {
    /// `none`, `auto` or `required`.
    Word(String),
    /// The function of this name.
    Function(String),
}

impl Default for ToolChoice {
    fn default() -> Self {
        ToolChoice::Word("auto".to_owned())
    }
}

impl ToolChoice {
    /// Whether no tool may be called.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, ToolChoice::Word(word) if word == "none")
    }

    /// Those of the tools one of which has to be called. `field` is where the choice stands.
    ///
    /// # Errors
    /// If there is no such tool, or no such choice.
    pub(super) fn forces<'a>(
        &self,
        tools: &'a [OfferedTool],
        field: &str,
    ) -> Result<&'a [OfferedTool], ApiError> {
        let wrong = |why: &str| Err(ApiError::field(field, why));
        match self {
            ToolChoice::Word(word) => match word.as_str() {
                "none" | "auto" => Ok(&[]),
                "required" if tools.is_empty() => wrong("there are no tools to choose"),
                "required" => Ok(tools),
                other => wrong(&format!(
                    "{other:?} is not none, auto, required or a function"
                )),
            },
            ToolChoice::Function(name) => match tools.iter().position(|t| t.name == *name) {
                Some(at) => Ok(&tools[at..=at]),
                None => wrong(&format!("there is no tool {name:?}")),
            },
        }
    }
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrFunction)
    }
}

impl JsonSchema for ToolChoice {
    fn schema_name() -> Cow<'static, str> {
        "ToolChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whether a tool has to be called, and which.",
            "anyOf": [
                { "type": "string", "enum": ["none", "auto", "required"] },
                {
                    "type": "object",
                    "properties": {
                        "type": { "type": "string", "enum": ["function"] },
                        "function": {
                            "type": "object",
                            "properties": { "name": { "type": "string", "maxLength": NAME_BYTES } },
                            "required": ["name"],
                        },
                        "name": { "type": "string", "maxLength": NAME_BYTES },
                    },
                    "anyOf": [{ "required": ["function"] }, { "required": ["name"] }],
                },
            ],
        })
    }
}

fields! {
    /// A choice of a function.
    struct Chosen {
        /// `function`.
        "type" => kind: Name,
        /// The function.
        "function" => function: Named,
        /// The function's name, where it stands by itself.
        "name" => name: Name,
    }

    /// A function by its name.
    struct Named {
        /// Its name.
        "name" => name: Name,
    }
}

struct WordOrFunction;

impl<'de> Visitor<'de> for WordOrFunction {
    type Value = ToolChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none, auto, required or a function")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<ToolChoice, E> {
        Ok(ToolChoice::Word(Name::new::<E>(word)?.0))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToolChoice, A::Error> {
        let chosen = Chosen::deserialize(MapAccessDeserializer::new(map))?;
        if let Some(kind) = chosen.kind.filter(|k| k.0 != "function") {
            return Err(A::Error::custom(format_args!(
                "a choice of type {:?} is not supported, only none, auto, required or a function",
                kind.0
            )));
        }
        match chosen.function.and_then(|f| f.name).or(chosen.name) {
            Some(name) => Ok(ToolChoice::Function(name.0)),
            None => Err(A::Error::custom("it needs function.name")),
        }
    }
}
