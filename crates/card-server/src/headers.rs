//! Headers that the server reads itself.

use axum::http::{HeaderMap, header};

/// The header by which a request names the drafter that is for it.
pub const DRAFTER_HEADER: &str = "x-card-drafter";

/// The length of the body that the head of a request announces.
pub(crate) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}
