//! The key that a request brings.

use axum::http::{HeaderMap, HeaderValue, header};

/// The key a client sent: `Authorization: Bearer KEY`, or `X-Api-Key: KEY`. An empty header is none:
/// some clients always send both.
pub(super) fn given_key(headers: &HeaderMap) -> Option<&str> {
    fn text(value: Option<&HeaderValue>) -> Option<&str> {
        value?.to_str().ok().map(str::trim)
    }
    let bearer = text(headers.get(header::AUTHORIZATION)).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let named = text(headers.get("x-api-key")).filter(|key| !key.is_empty());
    named.or(bearer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let name = header::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        };
        all.iter().map(pair).collect()
    }

    #[test]
    fn keys_come_in_both_headers_and_any_case() {
        for (name, value) in [
            ("authorization", "Bearer k"),
            ("authorization", "bearer  k "),
            ("x-api-key", "k"),
        ] {
            assert_eq!(
                given_key(&headers(&[(name, value)])),
                Some("k"),
                "{name}: {value}"
            );
        }
        assert_eq!(given_key(&headers(&[("authorization", "Basic k")])), None);
        let both = [("authorization", "Bearer k"), ("x-api-key", " ")];
        assert_eq!(given_key(&headers(&both)), Some("k"));
    }
}
