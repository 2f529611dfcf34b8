//! `response_format`: what the text has to be.

use crate::error::ApiError;
use crate::job::AnswerShape;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;

/// Where the schema stands in a request.
pub(super) const SCHEMA_PATH: &str = "response_format.json_schema.schema";

fields! {
    /// What the text has to be.
    struct ResponseFormat {
        /// `text`, `json_object` or `json_schema`.
        #[schemars(rename = "type", required)]
        "type" => kind: Name,
        /// The schema, for `json_schema`.
        "json_schema" => json_schema: NamedSchema,
    }

    /// A schema with a name.
    struct NamedSchema {
        /// A JSON Schema.
        "schema" => schema: Loose,
    }
}

impl ResponseFormat {
    /// The shape that the text must have; `None` where it may be anything.
    ///
    /// # Errors
    /// If the type is unknown, or its schema is missing.
    pub(super) fn shape(self) -> Result<Option<AnswerShape>, ApiError> {
        let kind = self.kind.map(|k| k.0).unwrap_or_default();
        match kind.as_str() {
            "text" => Ok(None),
            "json_object" => Ok(Some(AnswerShape::Object)),
            "json_schema" => {
                let schema = self.json_schema.and_then(|s| s.schema);
                let why = "a response_format of type json_schema needs json_schema.schema";
                let schema = schema.ok_or_else(|| ApiError::field(SCHEMA_PATH, why))?;
                Ok(Some(AnswerShape::Schema(schema.0)))
            }
            other => {
                let why = format!("{other:?} is not text, json_object or json_schema");
                Err(ApiError::field("response_format.type", why))
            }
        }
    }
}
