//! Pages of others stay out, and those that were invited come in. The own page is all here.

use serde_json::json;

use crate::client::{CHAT, COMPLETIONS, Client, request, setup, with_keys};
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

/// The files that a text of the page names: what its tags load, and what its modules import.
fn named_files(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let tags = ["src=\"web/", "href=\"web/"];
    let tags = tags.iter().flat_map(|tag| text.split(tag).skip(1));
    let tags = tags.map(|rest| format!("/web/{}", rest.split('"').next().unwrap()));
    let imports = text.lines().filter(|line| line.starts_with("import "));
    let imports = imports.map(|line| {
        let name = line.rsplit('"').nth(1).unwrap().trim_start_matches("./");
        format!("{folder}/{name}")
    });
    tags.chain(imports).collect()
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_are_in_the_server() {
    let client = Client::start(&with_keys(&[("anna", "secret-of-anna")]));
    let mut open = vec!["/".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        if seen.contains(&path) {
            continue;
        }
        // It asks for a key, so it needs none itself.
        let reply = client.get(&path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let wanted = match path.rsplit_once('.').map(|(_, ending)| ending) {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(reply.header("content-type"), wanted, "{path}");
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        // Whoever has it does not get it again.
        let tag = reply.header("etag").to_owned();
        for known in [tag.clone(), format!("\"other\", W/{tag}")] {
            let again = client
                .ask("GET", &path, &[("if-none-match", known.as_str())], "")
                .await;
            assert_eq!((again.status, again.text.as_str()), (304, ""), "{path}");
        }
        let other = [("if-none-match", "\"other\"")];
        assert_eq!(client.ask("GET", &path, &other, "").await.status, 200);
        open.extend(named_files(&path, &reply.text));
        seen.push(path);
    }
    for file in [
        "/web/page.js",
        "/web/style.css",
        "/web/page.css",
        "/web/theme.js",
        "/web/view.js",
        "/web/vendor/marked/marked.esm.js",
        "/web/vendor/dompurify/purify.min.js",
        "/web/vendor/highlight/python.min.js",
    ] {
        assert!(seen.contains(&file.to_owned()), "nothing loads {file}");
    }
    for none in ["/web/", "/web/nothing.js", "/web/../Cargo.toml", "/web/%ff"] {
        let reply = client.get(none).await;
        assert!(matches!(reply.status, 400 | 401 | 404), "{none}: {reply:?}");
        reply.error();
    }
}

#[tokio::test]
async fn a_server_without_a_page_has_none_of_its_files() {
    let mut setup = setup();
    setup.config.page = false;
    let client = Client::start(&setup);
    assert_eq!(client.get("/web/page.js").await.status, 404);
}

#[tokio::test]
async fn rounds_that_are_shown_say_what_the_policy_went_by() {
    let client = Client::start(&setup());
    let mut shown = client.follow("/live", &[]).await;
    assert_eq!(shown.next().await.unwrap()["kind"], "about");
    client.post(COMPLETIONS, &a()).await;
    let round = loop {
        let event = shown.next().await.unwrap();
        assert_ne!(event["kind"], "end", "there was no round");
        if event["kind"] == "round" {
            break event;
        }
    };
    let policy = &round["policy"];
    let nodes = round["nodes"].as_array().unwrap().len();
    assert_eq!(policy["taken"], nodes, "{round}");
    for number in ["rate", "plain", "ready", "expected", "forward_ms"] {
        assert!(policy[number].is_number(), "{number}: {round}");
    }
    assert!(policy["gated"].is_boolean(), "{round}");
}
