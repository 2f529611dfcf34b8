//! Pages of others stay out, and those that were invited come in.

use serde_json::json;

use crate::client::{CHAT, COMPLETIONS, Client, request, setup};
use crate::common::{a, hello};

#[tokio::test]
async fn pages_of_others_stay_out() {
    let client = Client::start(&setup());
    let own = client.server.url.as_str();
    let foreign: [&[(&str, &str)]; 12] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://localhost.evil.example")],
        &[("origin", "http://127.0.0.1.nip.io")],
        &[("sec-fetch-site", "cross-site")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
        ],
        &[
            ("origin", "https://evil.example"),
            ("content-type", "text/plain"),
        ],
        &[("content-type", "text/plain;charset=UTF-8")],
        &[("content-type", "text/plain; x=application/json")],
        &[("content-type", "multipart/form-data; boundary=x")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("content-type", "application/x-www-form-urlencoded"),
        ],
        &[
            ("referer", "https://evil.example/"),
            ("content-type", "application/x-www-form-urlencoded"),
        ],
    ];
    let posts = [
        (CHAT, hello()),
        (COMPLETIONS, a()),
        ("/tokenize", json!({ "content": "a" })),
        ("/detokenize", json!({ "tokens": [65] })),
    ];
    for headers in foreign {
        for (path, body) in &posts {
            let reply = client.ask("POST", path, headers, body.to_string()).await;
            assert!(
                matches!(reply.status, 403 | 415),
                "{path} {headers:?}: {reply:?}"
            );
            reply.error();
        }
    }
    for path in [
        "/v1/models",
        "/metrics",
        "/live",
        "/openapi.json",
        "/nothing",
    ] {
        for headers in [foreign[0], foreign[4]] {
            let reply = client.ask("GET", path, headers, "").await;
            assert_eq!(reply.status, 403, "{path} {headers:?}: {reply:?}");
        }
    }
    let near: [&[(&str, &str)]; 5] = [
        &[],
        &[("origin", own), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
        &[("content-type", "Application/JSON; charset=utf-8")],
        // What `curl -d` sends.
        &[("content-type", "application/x-www-form-urlencoded")],
    ];
    for headers in near {
        for (path, body) in &posts {
            let reply = client.ask("POST", path, headers, body.to_string()).await;
            assert_eq!(reply.status, 200, "{path} {headers:?}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn every_name_of_this_machine_passes_and_no_other() {
    let mut setup = setup();
    setup.config.allow_hosts = vec!["card.internal".into()];
    let client = Client::start(&setup);
    let status =
        |line: &str, headers: &[&str]| client.raw_status(&request("GET", line, headers, ""));
    for host in [
        "localhost",
        "localhost:8080",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1",
        "127.1.2.3:80",
        "[::1]",
        "[::1]:8080",
        "[::ffff:127.0.0.1]:80",
        "card.internal",
        "CARD.internal:8080",
    ] {
        assert_eq!(
            status("/v1/models", &[&format!("Host: {host}")]),
            200,
            "{host}"
        );
    }
    for host in [
        "evil.example",
        "evil.example:80",
        "10.0.0.1",
        "0.0.0.0",
        "127.0.0.1.nip.io",
        "localhost.evil.example",
        "card.internal.evil.example",
        "localhost@evil.example",
        "evil.example#localhost",
        "",
    ] {
        let got = status("/v1/models", &[&format!("Host: {host}")]);
        assert!(matches!(got, 400 | 403), "{host:?}: {got}");
    }
    let odd: [(&str, &str, &[&str]); 4] = [
        ("no Host", "/v1/models", &[]),
        (
            "two Hosts",
            "/v1/models",
            &["Host: localhost", "Host: evil.example"],
        ),
        (
            "two Hosts",
            "/v1/models",
            &["Host: evil.example", "Host: localhost"],
        ),
        (
            "an address in the line",
            "http://evil.example/v1/models",
            &["Host: localhost"],
        ),
    ];
    for (what, line, headers) in odd {
        let got = status(line, headers);
        assert!(matches!(got, 400 | 403), "{what}: {got}");
    }
    assert!(matches!(
        client.raw_status(b"GET /v1/models HTTP/1.0\r\n\r\n"),
        400 | 403
    ));
    // The message names the remedy.
    let reply = client
        .ask(
            "POST",
            COMPLETIONS,
            &[("host", "card.example")],
            a().to_string(),
        )
        .await;
    assert!(reply.error().1.contains("--allow-host"), "{reply:?}");
    // A probe needs no name.
    assert_eq!(status("/health", &["Host: evil.example"]), 200);
}

#[tokio::test]
async fn http2_is_not_spoken_without_a_host_that_is_ours() {
    let client = Client::start(&setup());
    // SETTINGS, then HEADERS: GET /v1/models, http, :authority evil.example.
    let parts: [&[u8]; 4] = [
        &[0x82, 0x86, 0x04, 10],
        b"/v1/models",
        &[0x01, 12],
        b"evil.example",
    ];
    let head = parts.concat();
    let mut talk = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    talk.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    talk.extend([0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1]);
    talk.extend(&head);
    // A GOAWAY that asks it to close, so that there is an end to read to.
    talk.extend([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let answer = client.raw(&talk).unwrap_or_default();
    assert!(!answer.contains("synthetic"), "{answer}");
    client.serves().await;
}

#[tokio::test]
async fn pages_that_were_invited_may_come() {
    let mut setup = setup();
    // However it is written.
    setup.config.cors = vec!["https://chat.example/".into()];
    let client = Client::start(&setup);
    let from = |origin: &'static str| [("origin", origin), ("sec-fetch-site", "cross-site")];
    let reply = client
        .ask(
            "POST",
            COMPLETIONS,
            &from("https://chat.example"),
            a().to_string(),
        )
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://chat.example"
    );
    let reply = client
        .ask(
            "POST",
            COMPLETIONS,
            &from("https://evil.example"),
            a().to_string(),
        )
        .await;
    assert_eq!(reply.status, 403, "{reply:?}");
}
