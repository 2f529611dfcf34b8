//! `output_config`: what the text has to be.

use crate::error::ApiError;
use crate::job::AnswerShape;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;
use crate::reading::strict::{Anything, Strict};

/// Where the schema stands in a request.
pub(super) const SCHEMA_PATH: &str = "output_config.format.schema";

fields! {
    /// What to write.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct OutputConfigParam {
        /// Without effect: models served here have no such setting.
        "effort" => effort: Anything,
        /// What the text has to be.
        "format" => format: Strict<OutputFormatParam>,
    }

    /// What the text has to be.
    struct OutputFormatParam {
        /// `json_schema`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// A JSON Schema.
        #[schemars(required)]
        "schema" => schema: Loose,
    }
}

impl OutputFormatParam {
    /// The shape that the text must have.
    ///
    /// # Errors
    /// If the type is unknown, or the schema is missing.
    pub(super) fn shape(self) -> Result<AnswerShape, ApiError> {
        let kind = self.kind.map(|kind| kind.0).unwrap_or_default();
        if kind != "json_schema" {
            let why = format!("{kind:?} is not json_schema");
            return Err(ApiError::field("output_config.format.type", why));
        }
        let why = "a format of type json_schema needs a schema";
        let schema = self
            .schema
            .ok_or_else(|| ApiError::field(SCHEMA_PATH, why))?;
        Ok(AnswerShape::Schema(schema.0))
    }
}
