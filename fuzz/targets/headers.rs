//! Heads of requests: a server without keys lets in nobody whom a page could be, and `card
//! edge` passes on nothing that belongs to a connection.
#![no_main]

use std::net::IpAddr;

use axum::http::{HeaderMap, Request, header};
use card_server::testing::{lets_in, passed_on};

libfuzzer_sys::fuzz_target!(|head: &str| {
    let mut lines = head.lines();
    let mut request = Request::post(lines.next().unwrap_or_default());
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            request = request.header(name, value.trim());
        }
    }
    let Ok(request) = request.body(()) else {
        return;
    };
    let (parts, ()) = request.into_parts();
    if lets_in(IpAddr::from([127, 0, 0, 1]), &parts).is_ok() {
        let text = |name| parts.headers.get(name).and_then(|v| v.to_str().ok());
        let host = parts
            .uri
            .authority()
            .map(|a| a.as_str())
            .or(text(header::HOST));
        let host = host.unwrap_or_default().to_ascii_lowercase();
        assert!(
            host.contains("localhost") || host.contains("127.") || host.contains("::1"),
            "{host}"
        );
        if let Some(origin) = text(header::ORIGIN) {
            assert!(
                origin.to_ascii_lowercase().ends_with(&host),
                "{origin} at {host}"
            );
        }
        let site = parts.headers.get("sec-fetch-site").map(|v| v.as_bytes());
        assert!(
            matches!(site, None | Some(b"none" | b"same-origin")) || text(header::ORIGIN).is_some()
        );
    }
    let passed: HeaderMap = passed_on(&parts.headers);
    for name in [
        "connection",
        "host",
        "transfer-encoding",
        "upgrade",
        "content-length",
    ] {
        assert!(!passed.contains_key(name), "{name}");
    }
    let named = parts.headers.get_all(header::CONNECTION).iter();
    for name in named
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        assert!(!passed.contains_key(name.trim()), "{name}");
    }
});
