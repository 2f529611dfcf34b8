//! What browsers ask before a page of another origin may ask, and what they let it read.

use crate::client::{CHAT, Client, Reply, with_keys};
use crate::common::{ANNA, hello};

/// What a browser asks before the OpenAI SDK of a page sends a chat to a server of the own network.
async fn preflight(client: &Client, origin: &str) -> Reply {
    let asked = "authorization,content-type,x-stainless-arch,x-stainless-lang,\
                 x-stainless-package-version,x-stainless-retry-count,x-stainless-timeout";
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
        ("access-control-request-private-network", "true"),
    ];
    client.ask("OPTIONS", CHAT, &headers, "").await
}

#[tokio::test]
async fn only_an_origin_that_is_let_in_is_told_so() {
    let mut setup = with_keys(&[("anna", "secret-of-anna")]);
    setup.config.cors = vec!["https://Chat.example/".into()];
    let client = Client::start(&setup);
    let reply = preflight(&client, "https://chat.example").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let allowed = reply.header("access-control-allow-origin");
    assert_eq!(allowed, "https://chat.example");
    assert!(
        reply
            .header("access-control-allow-headers")
            .contains("x-stainless-retry-count"),
        "{reply:?}"
    );
    let methods = reply.header("access-control-allow-methods");
    assert_eq!(methods, "GET, POST, DELETE, OPTIONS");
    assert_eq!(reply.header("access-control-allow-private-network"), "true");
    assert!(!reply.header("access-control-max-age").is_empty());
    for origin in [
        "https://evil.example",
        "https://chat.example.evil.example",
        "http://chat.example",
        "https://chat.example:8443",
        "null",
    ] {
        let reply = preflight(&client, origin).await;
        let allowed = reply.headers.get("access-control-allow-origin");
        assert_eq!(allowed, None, "{origin}: {reply:?}");
    }
}

#[tokio::test]
async fn a_page_may_read_answers_and_errors() {
    let mut setup = with_keys(&[("anna", "secret-of-anna")]);
    setup.config.cors = vec!["https://chat.example".into()];
    let client = Client::start(&setup);
    for (key, status) in [(ANNA, 200), ("Bearer wrong", 401)] {
        let headers = [("origin", "https://chat.example"), ("authorization", key)];
        let body = hello().to_string();
        let reply = client.ask("POST", CHAT, &headers, body).await;
        assert_eq!(reply.status, status, "{reply:?}");
        let allowed = reply.header("access-control-allow-origin");
        assert_eq!(allowed, "https://chat.example");
        let readable = reply.header("access-control-expose-headers");
        assert!(readable.contains("retry-after"), "{readable}");
        // What one origin was told is not kept for another.
        let mut varies = reply.headers.get_all("vary").iter();
        let origin = varies.any(|v| v.to_str().is_ok_and(|v| v.contains("origin")));
        assert!(origin, "{reply:?}");
    }
}

#[tokio::test]
async fn names_of_headers_are_written_as_others_write_them() {
    let mut setup = with_keys(&[("anna", "secret-of-anna")]);
    setup.config.cors = vec!["*".into()];
    let client = Client::start(&setup);
    let asked = "OPTIONS /completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                 Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    let answer = client.raw(asked.as_bytes()).unwrap();
    let allowed = "\r\nAccess-Control-Allow-Origin: https://chat.example\r\n";
    assert!(answer.contains(allowed), "{answer}");
    let asked = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = client.raw(asked.as_bytes()).unwrap();
    assert!(answer.contains("\r\nContent-Type: "), "{answer}");
}

#[tokio::test]
async fn without_origins_no_page_is_told_anything() {
    let client = Client::start(&with_keys(&[("anna", "secret-of-anna")]));
    let reply = preflight(&client, "https://chat.example").await;
    assert!(reply.status >= 400, "{reply:?}");
    let told = reply.headers.keys();
    let told = told.filter(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(told.count(), 0, "{reply:?}");
}
