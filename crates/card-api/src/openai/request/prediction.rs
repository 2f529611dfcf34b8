//! `prediction`: the answer that the client expects.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

use super::message::{content_schema, read_content};
use crate::error::ApiError;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;

fields! {
    /// An answer that is expected.
    #[schemars(rename = "Prediction")]
    struct PredictionField {
        /// `content`.
        #[schemars(rename = "type")]
        "type" => kind: Name,
        /// The text.
        #[schemars(required)]
        "content" => content: Expected,
    }
}

/// Text, or parts of type text, which are one text as they follow each other: what stands in a file
/// that was cut into parts is found again as it is.
pub(crate) struct Expected(String);

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_content(deserializer, "").map(Expected)
    }
}

impl JsonSchema for Expected {
    fn schema_name() -> Cow<'static, str> {
        "ExpectedContent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        content_schema(
            "Text, or parts that are text, which are one text as they follow each other.",
        )
    }
}

impl PredictionField {
    /// The text that is expected.
    ///
    /// # Errors
    /// If there is none, or it is of another type.
    pub(super) fn text(self) -> Result<String, ApiError> {
        if self.kind.is_some_and(|kind| kind.0 != "content") {
            let why = "the type of a prediction must be \"content\"";
            return Err(ApiError::field("prediction.type", why));
        }
        let why = "a prediction needs content";
        let content = self
            .content
            .ok_or_else(|| ApiError::field("prediction.content", why))?;
        Ok(content.0)
    }
}
