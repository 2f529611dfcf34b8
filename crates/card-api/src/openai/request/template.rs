//! What a request says of the model's chat template.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::job::TemplateOptions;
use crate::limits::TEMPLATE_VARIABLES;
use crate::reading::bounded::Name;
use crate::reading::loose::Loose;

/// Variables that are the conversation's own.
const RESERVED: [&str; 4] = ["messages", "tools", "bos_token", "eos_token"];

/// Variables for the template (`chat_template_kwargs`).
pub(crate) struct TemplateVariables(Map<String, Value>);

impl<'de> Deserialize<'de> for TemplateVariables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(variables) = Loose::deserialize(deserializer)?.0 else {
            return Err(D::Error::custom("it must be an object"));
        };
        if variables.len() > TEMPLATE_VARIABLES {
            let why = format!("it has more than {TEMPLATE_VARIABLES} variables; leave some out");
            return Err(D::Error::custom(why));
        }
        let mut names = variables.keys();
        if let Some(name) = names.find(|name| RESERVED.contains(&name.as_str())) {
            let why = format!("{name:?} is set by the conversation itself; leave it out");
            return Err(D::Error::custom(why));
        }
        Ok(TemplateVariables(variables))
    }
}

impl JsonSchema for TemplateVariables {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TemplateVariables".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": true,
            "maxProperties": TEMPLATE_VARIABLES,
        })
    }
}

/// How the template writes a conversation down. `effort` says how much the model thinks; `none`
/// is not at all.
pub(super) fn template_options(
    variables: Option<TemplateVariables>,
    effort: Option<Name>,
    begins_answer: Option<bool>,
) -> TemplateOptions {
    let effort = effort.map(|word| word.0).filter(|word| !word.is_empty());
    let none = effort.as_deref() == Some("none");
    TemplateOptions {
        thinking: none.then_some(false),
        effort: effort.filter(|_| !none),
        variables: variables.map(|v| v.0).unwrap_or_default(),
        begins_answer: begins_answer.unwrap_or(true),
    }
}
