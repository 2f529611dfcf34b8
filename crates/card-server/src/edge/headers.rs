//! Which headers of a message are passed on.

use axum::http::{HeaderMap, HeaderName, header};

/// Headers that belong to a connection, not to a message (RFC 9110, 7.6.1), or are made anew.
/// Those that `Connection` names belong to it too.
const OWN: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Copies the headers that belong to the message.
pub(crate) fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    let named = from.get_all(header::CONNECTION).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> = named
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for (name, value) in from {
        if !OWN.contains(&name.as_str()) && !named.contains(name) {
            to.append(name.clone(), value.clone());
        }
    }
}
