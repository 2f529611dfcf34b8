//! `prediction`: the answer that the client expects.

use super::message::Content;
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
        "content" => content: Content,
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
