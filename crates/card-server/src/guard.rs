//! Who may ask: API keys; and where there are none, no page of somebody else's.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;

use crate::app::App;
use crate::caller::{Caller, same_secret};
use crate::connections::{Busy, FirstByte, Peer};

/// Paths that need no key: a load balancer's probe, and the page, which asks for one.
const OPEN: [&str; 2] = ["/health", "/"];
/// The path that a key of its own opens.
const METRICS: &str = "/metrics";

/// Lets through who may ask, says who it is ([`Caller`]), and counts every answer.
pub(crate) async fn guard(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let first = request.extensions().get::<FirstByte>();
    let came = first.map_or_else(Instant::now, |f| f.0);
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.map_or("other".to_owned(), |m| m.as_str().to_owned());
    let peer = request.extensions().get::<Peer>().map(|p| p.0);
    let anybody = Caller::without_key(peer, came);
    let caller = if request.headers().get_all(header::HOST).iter().count() > 1 {
        // RFC 9112, 3.2: what one part reads need not be what another reads.
        Err(ApiError::invalid("there is more than one Host header"))
    } else if OPEN.contains(&path.as_str()) {
        Ok(anybody.clone())
    } else {
        check(&app, &path, &request, anybody.clone())
    };
    let mut response = match caller {
        Ok(mut caller) => {
            caller.busy = request.extensions().get::<Arc<Busy>>().cloned();
            if let Some(busy) = &caller.busy {
                busy.begin();
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => {
            tracing::info!(?peer, path, status = %error.status, "refused");
            app.strangers.note(error.status.as_u16());
            app.admission.discard(request.into_body()).await;
            error.into_response()
        }
    };
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let status = response.status().as_u16().to_string();
    app.metrics
        .requests
        .with_label_values(&[path.as_str(), &status])
        .inc();
    response
}

fn check(app: &App, path: &str, request: &Request, anybody: Caller) -> Result<Caller, ApiError> {
    let (headers, config) = (request.headers(), &app.config);
    if app.keys.is_empty() {
        let site = Site {
            listens: config.host,
            names: &config.allow_hosts,
            origins: &config.cors,
        };
        site.check(request.method(), request.uri(), headers)?;
        return Ok(anybody);
    }
    let given = given_key(headers).unwrap_or_default();
    if let Some((name, tenant)) = app.keys.find(given) {
        return Ok(Caller {
            name,
            tenant,
            ..anybody
        });
    }
    match &config.metrics_key {
        Some(wanted) if path == METRICS && same_secret(given, wanted) => Ok(Caller {
            name: "metrics".into(),
            ..anybody
        }),
        _ => Err(ApiError::unauthorized()),
    }
}

/// The key a client sent: `Authorization: Bearer KEY`, or `X-Api-Key: KEY`.
fn given_key(headers: &HeaderMap) -> Option<&str> {
    fn text(value: Option<&HeaderValue>) -> Option<&str> {
        value?.to_str().ok().map(str::trim)
    }
    let bearer = text(headers.get(header::AUTHORIZATION)).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    text(headers.get("x-api-key")).or(bearer)
}

/// What a server without keys looks at, so that no page that its user happens to visit can
/// use it.
///
/// A page is told apart by what browsers add and pages cannot change: the name it was
/// reached by (`Host`, against DNS rebinding), where it comes from (`Origin`,
/// `Sec-Fetch-Site`; Fetch Metadata, W3C), and the types of body that a page may send
/// without asking first (Fetch standard, "CORS-safelisted request-header").
pub(crate) struct Site<'a> {
    /// Where the server listens.
    pub(crate) listens: IpAddr,
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
        let address = if self.listens.to_canonical().is_loopback() {
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
        let given = |o: &String| o == "*" || o.trim_end_matches('/').eq_ignore_ascii_case(origin);
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

/// Whether this is a host with or without a port (RFC 9110, 7.2), and no more.
fn is_host(host: &str) -> bool {
    let behind = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(_, behind)| behind),
        None => Some(host.find(':').map_or("", |at| &host[at..])),
    };
    let port = |b: &str| {
        b.is_empty()
            || b.strip_prefix(':')
                .is_some_and(|p| p.bytes().all(|c| c.is_ascii_digit()))
    };
    !host.contains('@') && behind.is_some_and(port)
}

/// `localhost:8080` is `localhost`, `[::1]:80` is `::1`.
fn name_of(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.strip_suffix('.').unwrap_or(name)
}

fn same_name(name: &str, host: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case(name_of(host)) || name.eq_ignore_ascii_case(host)
}

fn is_local(host: &str) -> bool {
    let name = name_of(host);
    let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(loopback)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_machine_by_name() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1:1",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "example.org",
            "example.org:80",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "localhost.example.org",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let name = header::HeaderName::from_static(name);
            (name, HeaderValue::from_str(value).unwrap())
        };
        all.iter().map(pair).collect()
    }

    #[test]
    fn pages_of_others_stay_out_and_programs_come_in() {
        let (names, origins) = (
            vec!["host.docker.internal".to_owned()],
            vec!["https://chat.example".to_owned()],
        );
        let site = Site {
            listens: IpAddr::from([127, 0, 0, 1]),
            names: &names,
            origins: &origins,
        };
        let status = |all: &[(&'static str, &str)]| {
            let checked = site.check(&Method::POST, &Uri::from_static("/v1/x"), &headers(all));
            checked.map_or_else(|e| e.status.as_u16(), |()| 200)
        };
        let json = ("content-type", "application/json; charset=utf-8");
        let here = ("host", "127.0.0.1:8080");
        let cases: [(&[(&'static str, &str)], u16); 17] = [
            (&[here, json], 200),
            // What curl -d sends.
            (
                &[here, ("content-type", "application/x-www-form-urlencoded")],
                200,
            ),
            (&[here], 200),
            (&[here, ("content-type", "text/plain")], 415),
            (&[here, ("content-type", "Text/Plain;charset=UTF-8")], 415),
            (
                &[here, ("content-type", "multipart/form-data; boundary=x")],
                415,
            ),
            (&[("host", "evil.example"), json], 403),
            (&[json], 403),
            (&[("host", "host.docker.internal:8080"), json], 200),
            (&[here, json, ("origin", "https://evil.example")], 403),
            (&[here, json, ("origin", "null")], 403),
            (&[here, json, ("sec-fetch-site", "cross-site")], 403),
            // Another port of this machine is another site's page too.
            (
                &[
                    here,
                    json,
                    ("sec-fetch-site", "same-site"),
                    ("origin", "http://127.0.0.1:3000"),
                ],
                403,
            ),
            (
                &[
                    here,
                    json,
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://127.0.0.1:8080"),
                ],
                200,
            ),
            (
                &[
                    here,
                    json,
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://chat.example"),
                ],
                200,
            ),
            (&[here, ("sec-fetch-site", "same-origin")], 415),
            (
                &[
                    here,
                    ("referer", "http://127.0.0.1:8080/"),
                    ("content-type", "application/x-www-form-urlencoded"),
                ],
                415,
            ),
        ];
        for (all, expected) in cases {
            assert_eq!(status(all), expected, "{all:?}");
        }
        // Beyond loopback an address is as good; a name has to be allowed there too.
        let open = Site {
            listens: IpAddr::from([0, 0, 0, 0]),
            ..site
        };
        for (host, fine) in [
            ("10.0.0.7:8080", true),
            ("office", false),
            ("evil.example", false),
        ] {
            let checked = open.check(
                &Method::GET,
                &Uri::from_static("/"),
                &headers(&[("host", host)]),
            );
            assert_eq!(checked.is_ok(), fine, "{host}");
        }
        for odd in [
            "127.0.0.1:80@evil.example",
            "[::1]evil.example",
            "localhost:evil",
            "[::1",
        ] {
            assert!(!is_host(odd), "{odd}");
        }
        // HTTP/2, and requests in absolute form, name the host in the address.
        let absolute = Uri::from_static("http://evil.example/v1/x");
        let checked = site.check(&Method::GET, &absolute, &headers(&[here]));
        assert_eq!(checked.unwrap_err().status.as_u16(), 403);
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
    }
}
