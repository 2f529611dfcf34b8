//! The header `anthropic-version`: which version of the API a client speaks.

use axum::http::HeaderMap;
use card_api::ApiError;

/// The header.
const HEADER: &str = "anthropic-version";
/// The versions there are.
const KNOWN: [&str; 2] = ["2023-06-01", "2023-01-01"];

/// Whether the client speaks a version that is known; one that says nothing does.
///
/// # Errors
/// If it does not.
pub(super) fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(version) = headers.get(HEADER) else {
        return Ok(());
    };
    let version = version.to_str().unwrap_or_default().trim();
    if KNOWN.contains(&version) {
        return Ok(());
    }
    let [newest, _] = KNOWN;
    let why = format!("{version:?} is no version that is known; send {newest}, or no such header");
    Err(ApiError::field(HEADER, why))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_version_is_a_known_one_or_none() {
        let mut headers = HeaderMap::new();
        assert!(check_version(&headers).is_ok());
        for (version, known) in [("2023-06-01", true), ("2023-01-01", true), ("1999", false)] {
            headers.insert(HEADER, HeaderValue::from_static(version));
            assert_eq!(check_version(&headers).is_ok(), known, "{version}");
        }
    }
}
