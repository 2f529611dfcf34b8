//! `/api/show`: what a model is.

use crate::error::ApiError;
use crate::reading::bounded::Name;
use crate::reading::fields::{self, fields};
use crate::reading::strict::{Anything, Strict};

fields! {
    /// Asks what a model is.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct ShowRequest {
        /// Its name.
        "model" => model: Name,
        /// The same in an older word.
        "name" => name: Name,
        /// Without effect.
        "verbose" => verbose: Anything,
    }
}

/// Parses the body of `/api/show`: the name of the model.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_show(body: &[u8]) -> Result<String, ApiError> {
    let show: ShowRequest = fields::parse::<Strict<ShowRequest>>(body)?.fields.0;
    let name = show.model.or(show.name).map(|name| name.0);
    name.ok_or_else(|| ApiError::field("model", "there must be the name of a model"))
}
