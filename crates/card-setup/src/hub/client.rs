//! Requests to a hub. Nothing that comes back is believed: answers are bounded, addresses to which
//! they lead are looked at, and the token goes to the hub itself only.
//!
//! The crate `hf-hub` neither goes on with a partial file nor bounds an answer, so requests are made
//! here.

use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::http::{HeaderMap, Response};
use url::Url;

use super::error::HubError;
use super::name::RepoId;
use super::words::shown;
use crate::secret::SecretText;

/// Bytes of the largest description of a repository.
const LARGEST_JSON: u64 = 32 << 20;
/// Bytes of the largest message of an error.
const LARGEST_MESSAGE: u64 = 64 << 10;
/// Addresses that one request may lead to, one after the other.
const MOST_REDIRECTS: usize = 6;
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(30);
/// Time for an answer to begin, and for each next piece of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hub, and who asks it.
pub struct HubClient {
    agent: ureq::Agent,
    endpoint: Url,
    token: Option<SecretText>,
}

/// What is asked with one request.
#[derive(Clone, Copy, PartialEq)]
enum Method {
    Get,
    Head,
}

impl HubClient {
    /// Asks the hub at `endpoint`, with the token if there is one.
    pub fn new(endpoint: Url, token: Option<SecretText>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("card/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build();
        HubClient {
            agent: config.into(),
            endpoint,
            token,
        }
    }

    /// Whether there is a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The page of a repository, for people.
    pub fn page(&self, repo: &RepoId) -> String {
        self.address(&[repo.owner(), repo.name()]).to_string()
    }

    /// The address of these parts of a path on the hub; whatever an address cannot have is escaped.
    pub fn address(&self, parts: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// The address of a file of a repository as it was at a commit.
    pub fn file_address(&self, repo: &RepoId, commit: &str, path: &str) -> Url {
        let start = [repo.owner(), repo.name(), "resolve", commit];
        let parts: Vec<&str> = start.into_iter().chain(path.split('/')).collect();
        self.address(&parts)
    }

    /// The JSON at an address. `what` is asked for, in words.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses, or the answer is too large or of another kind.
    pub fn json<T: DeserializeOwned>(&self, url: &Url, what: &str) -> Result<T, HubError> {
        let mut answer = self.open(url, 0)?;
        let malformed = |why: String| HubError::Malformed {
            what: what.to_owned(),
            why,
        };
        if answer
            .body()
            .content_length()
            .is_some_and(|n| n > LARGEST_JSON)
        {
            return Err(malformed("it is too large".into()));
        }
        let body = answer.body_mut().with_config().limit(LARGEST_JSON);
        let bytes = body.read_to_vec().map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => malformed("it is too large".into()),
            error => unreachable(url, &error),
        })?;
        // The error of the JSON names a place and a type, and no text of the answer that is long.
        serde_json::from_slice(&bytes).map_err(|e| malformed(shown(&e.to_string())))
    }

    /// What is at an address, from byte `from` on. The status is 200 or 206.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses.
    pub fn open(&self, url: &Url, from: u64) -> Result<Response<Body>, HubError> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let mut answer = self.send(Method::Get, &url, from)?;
            let status = answer.status().as_u16();
            if !is_redirect(status) {
                return match status {
                    200 | 206 => Ok(answer),
                    _ => Err(self.refusal(&url, &mut answer)),
                };
            }
            url = self.redirected(&url, answer.headers())?;
        }
        Err(HubError::Malformed {
            what: url.path().to_owned(),
            why: format!("it leads from address to address, more than {MOST_REDIRECTS} times"),
        })
    }

    /// The headers that the hub itself gives for a file; where it lies is not looked at. Moves
    /// within the hub (a repository that was renamed) are followed.
    ///
    /// # Errors
    /// If the hub cannot be reached or refuses.
    pub fn headers(&self, url: &Url) -> Result<HeaderMap, HubError> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let mut answer = self.send(Method::Head, &url, 0)?;
            let status = answer.status().as_u16();
            if is_redirect(status) {
                let next = self.redirected(&url, answer.headers())?;
                if next.origin() == self.endpoint.origin()
                    && !answer.headers().contains_key("x-linked-etag")
                {
                    url = next;
                    continue;
                }
            } else if status != 200 {
                return Err(self.refusal(&url, &mut answer));
            }
            return Ok(answer.headers().clone());
        }
        Err(HubError::Malformed {
            what: url.path().to_owned(),
            why: "it leads in circles".into(),
        })
    }

    /// Sends one request, and follows nothing.
    fn send(&self, method: Method, url: &Url, from: u64) -> Result<Response<Body>, HubError> {
        let mut request = match method {
            Method::Get => self.agent.get(url.as_str()),
            Method::Head => self.agent.head(url.as_str()),
        };
        if let Some(token) = self.token.as_ref().filter(|_| self.may_know(url)) {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        let answer = request.call().map_err(|error| unreachable(url, &error))?;
        let status = answer.status().as_u16();
        if matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504) {
            return Err(HubError::Busy {
                host: host(url),
                status,
                after: wait(answer.headers()),
            });
        }
        Ok(answer)
    }

    /// Whether the token may go to an address: the hub's own, and unencrypted only within this
    /// machine.
    fn may_know(&self, url: &Url) -> bool {
        let safe = url.scheme() == "https" || is_loopback(url);
        safe && url.origin() == self.endpoint.origin()
    }

    /// The address to which an answer leads.
    fn redirected(&self, url: &Url, headers: &HeaderMap) -> Result<Url, HubError> {
        let malformed = |why: &str| HubError::Malformed {
            what: url.path().to_owned(),
            why: why.to_owned(),
        };
        let location = headers.get("location").and_then(|l| l.to_str().ok());
        let location = location.ok_or_else(|| malformed("it leads nowhere"))?;
        let next = url.join(location);
        let next = next.map_err(|_| malformed("it leads to what is no address"))?;
        let known = match next.scheme() {
            "https" => true,
            // A hub that is asked over an encrypted connection does not lead out of it.
            "http" => self.endpoint.scheme() == "http",
            _ => false,
        };
        if known && next.host().is_some() {
            Ok(next)
        } else {
            Err(malformed("it leads to an address that is not encrypted"))
        }
    }

    /// What was refused, with the reason.
    fn refusal(&self, url: &Url, answer: &mut Response<Body>) -> HubError {
        let header = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(shown(value)).filter(|v| !v.is_empty())
        };
        let (code, message) = (header("x-error-code"), header("x-error-message"));
        let (host, status) = (host(url), answer.status().as_u16());
        if url.origin() != self.endpoint.origin() {
            return HubError::RefusedElsewhere { host, status };
        }
        let said = message.or_else(|| {
            #[derive(serde::Deserialize)]
            struct HubAnswer {
                error: String,
            }
            let body = answer.body_mut().with_config().limit(LARGEST_MESSAGE);
            let bytes = body.read_to_vec().ok()?;
            let said: HubAnswer = serde_json::from_slice(&bytes).ok()?;
            Some(shown(&said.error))
        });
        HubError::Refused {
            host,
            status,
            code,
            said,
        }
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or("?").to_owned()
}

fn unreachable(url: &Url, error: &ureq::Error) -> HubError {
    HubError::Unreachable {
        host: host(url),
        why: shown(&error.to_string()),
    }
}

/// When the hub wants to be asked again.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(endpoint: &str) -> HubClient {
        let token = Some(SecretText::new("hf_secret".into()));
        HubClient::new(Url::parse(endpoint).unwrap(), token)
    }

    #[test]
    fn the_token_goes_to_the_hub_only() {
        let hub = client("https://hub.test/");
        let may = |text: &str| hub.may_know(&Url::parse(text).unwrap());
        assert!(may("https://hub.test/a/b"));
        for other in [
            "https://hub.test:8443/a",
            "http://hub.test/a",
            "https://cdn.hub.test/a",
            "https://hub.test.evil.test/a",
        ] {
            assert!(!may(other), "{other}");
        }
        // Over the network nobody sends it unencrypted.
        let plain = client("http://hub.test/");
        assert!(!plain.may_know(&Url::parse("http://hub.test/a").unwrap()));
        let here = client("http://127.0.0.1:9/");
        assert!(here.may_know(&Url::parse("http://127.0.0.1:9/a").unwrap()));
        assert!(!here.may_know(&Url::parse("http://127.0.0.1:10/a").unwrap()));
    }

    #[test]
    fn addresses_are_escaped_and_below_the_endpoint() {
        let hub = client("https://mirror.test/hub/");
        let repo = RepoId::parse("a/b").unwrap();
        assert_eq!(hub.page(&repo), "https://mirror.test/hub/a/b");
        let url = hub.file_address(&repo, "c0ffee", "x y/z?#.gguf");
        assert_eq!(
            url.as_str(),
            "https://mirror.test/hub/a/b/resolve/c0ffee/x%20y/z%3F%23.gguf"
        );
    }

    #[test]
    fn an_answer_does_not_lead_out_of_encryption() {
        let to = |endpoint: &str, location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("location", location.parse().unwrap());
            let from = Url::parse(endpoint).unwrap().join("a/b").unwrap();
            client(endpoint)
                .redirected(&from, &headers)
                .map(String::from)
        };
        let secure = "https://hub.test/";
        assert_eq!(to(secure, "/c").unwrap(), "https://hub.test/c");
        assert_eq!(
            to(secure, "https://cdn.test/x").unwrap(),
            "https://cdn.test/x"
        );
        for bad in ["http://cdn.test/x", "file:///etc/passwd", "ftp://x/y"] {
            assert!(to(secure, bad).is_err(), "{bad}");
        }
        assert!(to("http://127.0.0.1:9/", "http://127.0.0.1:10/x").is_ok());
    }
}
