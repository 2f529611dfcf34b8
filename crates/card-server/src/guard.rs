//! Who may ask: API keys, and the Host header where there are none.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use card_api::ApiError;
use subtle::{Choice, ConstantTimeEq};

use crate::app::App;

/// Paths that need no key: a load balancer's probe, and the page, which asks for one.
const OPEN: [&str; 2] = ["/health", "/"];

/// Lets through who may ask, and counts every answer.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.map_or("other".to_owned(), |m| m.as_str().to_owned());
    let allowed = match OPEN.contains(&path.as_str()) {
        true => Ok(()),
        false => check(&app, request.headers()),
    };
    let response = match allowed {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let status = response.status().as_u16().to_string();
    app.metrics
        .requests
        .with_label_values(&[path.as_str(), &status])
        .inc();
    response
}

fn check(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let config = &app.config;
    if config.keys.is_empty() {
        return check_host(config.host, headers);
    }
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|h| h.to_str().ok());
    let bearer = bearer.and_then(|h| h.strip_prefix("Bearer "));
    let given = bearer.unwrap_or_default().trim().as_bytes();
    // All keys are looked at, so that time tells nothing about which one is close.
    let found = config.keys.iter().fold(Choice::from(0), |found, key| {
        found | key.as_bytes().ct_eq(given)
    });
    match bool::from(found) {
        true => Ok(()),
        false => Err(ApiError::unauthorized()),
    }
}

/// A web page must not reach a server on this machine under another name.
pub(crate) fn check_host(listens: IpAddr, headers: &HeaderMap) -> Result<(), ApiError> {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let local = host.is_none_or(is_local);
    match listens.is_loopback() && !local {
        true => Err(ApiError::foreign_host()),
        false => Ok(()),
    }
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_this_machine_by_name() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "example.org",
            "example.org:80",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
