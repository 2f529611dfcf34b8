//! `/models/load` and `/models/unload`: a model of several is loaded, or unloaded, by its name.

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;
use crate::reading::bounded::Name;
use crate::reading::fields::{self, fields};
use crate::reading::strict::Strict;

fields! {
    /// Which model it is about.
    struct ModelNameFields {
        /// Its name.
        #[schemars(required)]
        "model" => model: Name,
    }
}

/// Parses the body of `/models/load` and `/models/unload`: the name of the model.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_model_name(body: &[u8]) -> Result<String, ApiError> {
    let read: ModelNameFields = fields::parse::<Strict<ModelNameFields>>(body)?.fields.0;
    let name = read.model.map(|name| name.0);
    name.ok_or_else(|| ApiError::field("model", "there must be the name of a model"))
}

/// A model was loaded or unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelMoved {
    /// Always true.
    pub success: bool,
}

/// What a server of several models is, none of which answers requests that name none.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RouterProps {
    /// `router`.
    pub role: String,
    /// Most models that are loaded at a time.
    pub max_instances: usize,
    /// Whether a request loads the model that it names.
    pub models_autoload: bool,
    /// The names of the models.
    pub model_alias: String,
    /// Which build this is.
    pub build_info: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_and_nothing_else_is_said() {
        assert_eq!(parse_model_name(br#"{"model":"a"}"#).unwrap(), "a");
        for (body, param) in [
            ("{}", "model"),
            (r#"{"model":5}"#, "model"),
            (r#"{"model":"a","extra_args":["-c","1"]}"#, "extra_args"),
        ] {
            let error = parse_model_name(body.as_bytes()).unwrap_err();
            assert_eq!(error.param(), Some(param), "{body}");
        }
    }
}
