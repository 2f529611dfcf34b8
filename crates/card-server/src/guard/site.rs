//! What a server without keys looks at, so that no page of somebody else's uses it.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, Uri, header};
use card_api::ApiError;

use super::host::{LOCALHOST, is_host, is_local, is_local_origin, name_of, same_name};

/// What a server without keys looks at, so that no page that its user happens to visit can
/// use it.
///
/// A page is told apart by what browsers add and pages cannot change: the name it was
/// reached by (`Host`, against DNS rebinding), where it comes from (`Origin`,
/// `Sec-Fetch-Site`; Fetch Metadata, W3C), and the types of body that a page may send
/// without asking first (Fetch standard, "CORS-safelisted request-header").
pub(crate) struct Site<'a> {
    /// Whether the server listens on loopback only.
    pub(crate) local: bool,
    /// Names by which it may be reached, beside this machine's own.
    pub(crate) names: &'a [String],
    /// Pages of these origins may use it; `*` for all.
    pub(crate) origins: &'a [String],
}

impl Site<'_> {
    /// Whether this request may be a stranger's page.
    pub(crate) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let text = |name| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
        let host = uri.authority().map(|a| a.as_str());
        let host = host.or(text(header::HOST));
        // Nobody means a name and a password before the host, or anything but a port behind it.
        let host = host.filter(|h| is_host(h));
        let named = host.unwrap_or_default();
        // A page cannot have an address for its name. Beyond loopback this machine has more of
        // them than its own.
        let address = if self.local {
            is_local(named)
        } else {
            is_local(named) || name_of(named).parse::<IpAddr>().is_ok()
        };
        if !address && !self.names.iter().any(|n| same_name(n, named)) {
            return Err(ApiError::foreign_host(name_of(named)));
        }
        let origin = text(header::ORIGIN);
        let allowed = origin.is_some_and(|o| self.allows(o, host));
        if origin.is_some() && !allowed {
            return Err(ApiError::foreign_origin());
        }
        let fetch_site = text(header::HeaderName::from_static("sec-fetch-site"));
        let near = matches!(fetch_site, None | Some("same-origin" | "none"));
        if !near && !allowed {
            return Err(ApiError::foreign_origin());
        }
        let browser =
            origin.is_some() || fetch_site.is_some() || headers.contains_key(header::REFERER);
        if *method == Method::POST && !self.is_json(text(header::CONTENT_TYPE), browser) {
            return Err(ApiError::wrong_content_type());
        }
        Ok(())
    }

    fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        let own = origin.split_once("://").map(|(_, at)| at);
        let same = own.is_some() && own == host;
        let given = |o: &String| {
            let here = || o == LOCALHOST && is_local_origin(origin);
            o == "*" || here() || o.trim_end_matches('/').eq_ignore_ascii_case(origin)
        };
        same || self.origins.iter().any(given)
    }

    /// Pages may send text, forms and bodies of no type without asking. `curl -d` calls its
    /// body a form, so what no browser sent may be one.
    fn is_json(&self, kind: Option<&str>, browser: bool) -> bool {
        let kind = kind.map(|k| k.split(';').next().unwrap_or_default().trim());
        match kind.map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "application/x-www-form-urlencoded") => !browser,
            Some("text/plain" | "multipart/form-data") => false,
            Some(_) => true,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let name = header::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        };
        all.iter().map(pair).collect()
    }

    /// Checks a request to a server that listens on loopback only or not, may be reached by a name,
    /// and has invited the pages of one origin.
    fn check(
        local: bool,
        method: &Method,
        uri: &'static str,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        let site = Site {
            local,
            names: &["host.docker.internal".to_owned()],
            origins: &["https://chat.example".to_owned()],
        };
        site.check(method, &Uri::from_static(uri), headers)
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:8080");
    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    /// The status that a POST with these headers gets on loopback.
    fn status(all: &[(&'static str, &str)]) -> u16 {
        let checked = check(true, &Method::POST, "/v1/x", &headers(all));
        checked.map_or_else(|e| e.status.as_u16(), |()| 200)
    }

    #[test]
    fn pages_of_others_stay_out_and_programs_come_in() {
        let cases: [(&[(&'static str, &str)], u16); 12] = [
            (&[HERE, JSON], 200),
            // What curl -d sends.
            (
                &[HERE, ("content-type", "application/x-www-form-urlencoded")],
                200,
            ),
            (&[HERE], 200),
            (&[HERE, ("content-type", "text/plain")], 415),
            (&[HERE, ("content-type", "Text/Plain;charset=UTF-8")], 415),
            (
                &[HERE, ("content-type", "multipart/form-data; boundary=x")],
                415,
            ),
            (&[("host", "evil.example"), JSON], 403),
            (&[JSON], 403),
            (&[("host", "host.docker.internal:8080"), JSON], 200),
            (&[HERE, JSON, ("origin", "https://evil.example")], 403),
            (&[HERE, JSON, ("origin", "null")], 403),
            (&[HERE, JSON, ("sec-fetch-site", "cross-site")], 403),
        ];
        for (all, expected) in cases {
            assert_eq!(status(all), expected, "{all:?}");
        }
    }

    #[test]
    fn pages_that_are_near_or_invited_come_in() {
        let cases: [(&[(&'static str, &str)], u16); 5] = [
            // Another port of this machine is another site's page too.
            (
                &[
                    HERE,
                    JSON,
                    ("sec-fetch-site", "same-site"),
                    ("origin", "http://127.0.0.1:3000"),
                ],
                403,
            ),
            (
                &[
                    HERE,
                    JSON,
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://127.0.0.1:8080"),
                ],
                200,
            ),
            (
                &[
                    HERE,
                    JSON,
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://chat.example"),
                ],
                200,
            ),
            (&[HERE, ("sec-fetch-site", "same-origin")], 415),
            (
                &[
                    HERE,
                    ("referer", "http://127.0.0.1:8080/"),
                    ("content-type", "application/x-www-form-urlencoded"),
                ],
                415,
            ),
        ];
        for (all, expected) in cases {
            assert_eq!(status(all), expected, "{all:?}");
        }
    }

    #[test]
    fn beyond_loopback_an_address_is_as_good_and_a_name_has_to_be_allowed() {
        for (host, fine) in [
            ("10.0.0.7:8080", true),
            ("office", false),
            ("evil.example", false),
        ] {
            let headers = headers(&[("host", host)]);
            let checked = check(false, &Method::GET, "/", &headers);
            assert_eq!(checked.is_ok(), fine, "{host}");
        }
    }

    #[test]
    fn an_address_in_the_first_line_counts_before_the_host() {
        // HTTP/2, and requests in absolute form, name the host in the address.
        let absolute = "http://evil.example/v1/x";
        let checked = check(true, &Method::GET, absolute, &headers(&[HERE]));
        assert_eq!(checked.unwrap_err().status.as_u16(), 403);
    }
}
