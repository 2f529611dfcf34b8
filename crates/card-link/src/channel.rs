//! A side that dials.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Uri};

use crate::error::LinkError;
use crate::limits::{KEEPALIVE, KEEPALIVE_TIMEOUT, PATIENCE};
use crate::security::{self, ClientSecurity};

/// Longest wait for a connection, names and TLS included.
const CONNECTING: Duration = Duration::from_secs(20);
/// Port that drafters are accepted on, if nobody says another.
const PORT: u16 = 7070;

/// Connects to an address like `http://host:7070`.
pub(crate) async fn connect(url: &str, security: &ClientSecurity) -> Result<Channel, LinkError> {
    let endpoint = endpoint(url, security)?;
    let cannot = |why: String| LinkError::Transport(format!("cannot reach {url}: {why}"));
    match tokio::time::timeout(CONNECTING, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(match LinkError::from(error) {
            LinkError::Transport(why) => cannot(why),
            other => other,
        }),
        Err(_) => Err(cannot("no answer".into())),
    }
}

fn endpoint(url: &str, security: &ClientSecurity) -> Result<Endpoint, LinkError> {
    let uri = uri(url)?;
    let https = uri.scheme_str() == Some("https");
    if !https {
        security.check_plain(&uri)?;
    }
    let endpoint = Endpoint::from(uri)
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(16 << 10);
    if !https {
        return Ok(endpoint);
    }
    let bad = |e: tonic::transport::Error| match LinkError::from(e) {
        LinkError::Transport(why) => LinkError::Settings(format!(
            "the certificates cannot be used: {why}; --link-cert, --link-key and --link-ca are PEM files"
        )),
        other => other,
    };
    endpoint.tls_config(security.tls()?).map_err(bad)
}

/// An address with a scheme and a host.
fn uri(url: &str) -> Result<Uri, LinkError> {
    let bad = || LinkError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    if known && uri.host().is_some_and(|h| !h.is_empty()) {
        Ok(uri)
    } else {
        Err(bad())
    }
}

/// Says it once, if a secret would cross a network for everybody to read.
pub(crate) fn warn_if_shown(url: &str, security: &ClientSecurity) {
    if uri(url).is_ok_and(|uri| security.shows_secret(&uri)) {
        tracing::warn!(
            "the secret and all text go to {url} unencrypted; use https:// (--link-cert and --link-key there, --link-ca here)"
        );
    }
}

/// Whether an address is this machine's, whatever the port; `None` if it is no address.
pub fn is_local(url: &str) -> Option<bool> {
    uri(url).ok().map(|uri| security::is_local(&uri))
}

/// Where a server accepts drafters, by its own address: the same host, port 7070.
///
/// # Errors
/// If it is no address.
pub fn link_of(server: &str) -> Result<String, LinkError> {
    let uri = uri(server)?;
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = uri.host().unwrap_or_default();
    Ok(format!("{scheme}://{host}:{PORT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_address_follows_from_the_servers() {
        let of = |url| link_of(url).ok();
        for (server, link) in [
            ("https://a.b:8080/v1", "https://a.b:7070"),
            ("http://cloud", "http://cloud:7070"),
            ("http://cloud/", "http://cloud:7070"),
            ("http://[::1]:8080", "http://[::1]:7070"),
            ("http://[2001:db8::1]", "http://[2001:db8::1]:7070"),
            ("http://10.0.0.1:8080/v1?x=y", "http://10.0.0.1:7070"),
            ("http://user:word@cloud:8080", "http://cloud:7070"),
        ] {
            assert_eq!(of(server).as_deref(), Some(link), "{server}");
        }
        for odd in [
            "cloud",
            "",
            "http://",
            "ftp://cloud",
            "cloud:8080",
            "/v1",
            "http://:80",
        ] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[test]
    fn addresses_of_this_machine_are_known() {
        for (url, local) in [
            ("http://127.0.0.1:1", Some(true)),
            ("http://[::1]:1", Some(true)),
            ("https://localhost", Some(true)),
            ("http://localhost.evil.example", Some(false)),
            ("http://10.0.0.1", Some(false)),
            ("nonsense", None),
        ] {
            assert_eq!(is_local(url), local, "{url}");
        }
    }
}
