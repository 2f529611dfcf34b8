//! The header `anthropic-version`: which version of the API a client speaks.

use axum::http::HeaderMap;
use card_api::ApiError;

/// The header.
const HEADER: &str = "anthropic-version";
/// The first version. Later ones are days as well; clients send the newest that they know.
const FIRST: &str = "2023-01-01";

/// Whether it is the day of a version: what a version adds to a request is a field, and that is
/// done or refused by its own name.
fn is_version(version: &str) -> bool {
    let mut parts = version.split('-').map(str::as_bytes);
    let mut digits = |n| {
        let part = parts.next();
        part.is_some_and(|p: &[u8]| p.len() == n && p.iter().all(u8::is_ascii_digit))
    };
    let day = digits(4) && digits(2) && digits(2);
    day && parts.next().is_none() && version >= FIRST
}

/// Whether the client speaks a version that is known; one that says nothing does.
///
/// # Errors
/// If it does not.
pub(super) fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(version) = headers.get(HEADER) else {
        return Ok(());
    };
    let version = version.to_str().unwrap_or_default().trim();
    if is_version(version) {
        return Ok(());
    }
    let why = format!("{version:?} is no version; send one like 2023-06-01, or no such header");
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
        for (version, known) in [
            ("2023-06-01", true),
            ("2026-10-21", true),
            ("1999", false),
            ("1999-01-01", false),
            ("2023-06-01-01", false),
        ] {
            headers.insert(HEADER, HeaderValue::from_static(version));
            assert_eq!(check_version(&headers).is_ok(), known, "{version}");
        }
    }
}
