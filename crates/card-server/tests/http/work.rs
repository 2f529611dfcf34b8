//! What a request costs: work, memory, time and places in the line.

use std::time::Duration;

use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, endless, request, setup};
use crate::common::{a, refused, with};

#[tokio::test]
async fn a_wrong_field_is_named_in_time_linear_in_the_body() {
    let client = Client::start(&setup());
    let keys: String = (0..200_000).map(|i| format!("\"k{i}\":0,")).collect();
    let cases = [
        (r#""temperature":"x""#, "temperature"),
        (r#""temperature":"x","n":"y""#, "temperature"),
        (
            r#""tools":[{"type":"function","function":{"name":5}}]"#,
            "tools",
        ),
        (r#""stop":[5]"#, "stop"),
    ];
    for (wrong, field) in cases {
        let body = format!(r#"{{{keys}{wrong},"messages":[{{"role":"user","content":"a"}}]}}"#);
        // Linear, it is a part of a second; quadratic, hours.
        let asked = client.ask("POST", CHAT, &[], body);
        let reply = tokio::time::timeout(Duration::from_secs(60), asked).await;
        refused(&reply.unwrap(), field, wrong);
    }
    client.serves().await;
}

#[tokio::test]
async fn what_is_said_once_is_not_held_a_hundred_times() {
    let client = Client::start(&setup());
    let large = "1".repeat(1 << 20);
    let body = with(
        a(),
        &json!({ "n": 16, "prediction": { "type": "content", "content": large } }),
    );
    assert_eq!(client.post(COMPLETIONS, &body).await.status, 200);
    let too_much = [
        json!({ "n": 17 }),
        json!({ "n": 16, "prompt": vec!["a"; 16] }),
        json!({ "prompt": vec!["a"; 1000] }),
        json!({ "logprobs": 21 }),
        json!({ "stop": vec!["a"; 17] }),
        json!({ "stop": "a".repeat(1 << 20) }),
    ];
    for more in too_much {
        let reply = client.post(COMPLETIONS, &with(a(), &more)).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        reply.error();
    }
    let many: serde_json::Map<String, Value> =
        (0..100_000).map(|t| (t.to_string(), json!(1))).collect();
    refused(
        &client
            .post(COMPLETIONS, &with(a(), &json!({ "logit_bias": many })))
            .await,
        "logit_bias",
        "100,000 biases",
    );
    client.serves().await;
}

#[tokio::test]
async fn who_has_no_place_in_the_line_costs_nothing() {
    let mut setup = TestSetup {
        parallel: 1,
        queue: 1,
        forward: Duration::from_millis(5),
        ..setup()
    };
    setup.config.max_request_bytes = 1 << 20;
    let client = Client::start(&setup);
    let long = request(
        "POST",
        COMPLETIONS,
        &["Host: localhost"],
        &endless(2000).to_string(),
    );
    let running = client.open(&long);
    client
        .until("the first", |health| health["running"] == 1)
        .await;
    let waiting = client.open(&long);
    client
        .until("the second", |health| health["waiting"] == 1)
        .await;
    // Neither parsed nor tokenized: what is wrong with them nobody knows.
    let large = "x".repeat(1 << 20);
    let bodies = ["{", "[1]", "{\"messages\":5}", "\u{fffd}", large.as_str()];
    for path in [CHAT, COMPLETIONS, "/tokenize", "/detokenize"] {
        for body in bodies {
            let reply = client.ask("POST", path, &[], body.to_owned()).await;
            assert_eq!(reply.status, 429, "{path}: {reply:?}");
            assert!(
                reply
                    .header("retry-after")
                    .parse::<u32>()
                    .is_ok_and(|s| s > 0)
            );
            reply.error();
        }
    }
    for path in ["/health", "/v1/models", "/metrics"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    drop((running, waiting));
    client.serves().await;
}

#[tokio::test]
async fn who_goes_away_leaves_nothing_behind() {
    let setup = TestSetup {
        parallel: 2,
        queue: 2,
        forward: Duration::from_millis(1),
        ..setup()
    };
    let client = Client::start(&setup);
    let body = with(endless(2000), &json!({ "n": 2 })).to_string();
    let whole = request("POST", COMPLETIONS, &["Host: localhost"], &body);
    for i in 0..40 {
        // At every moment: within the head, within the body, after it.
        let sent = whole.len() * (i % 4 + 1) / 4;
        drop(client.open(&whole[..sent]));
    }
    client.serves().await;
}

#[tokio::test]
async fn what_comes_too_slowly_is_not_waited_for() {
    let mut setup = setup();
    setup.config.body_timeout = Duration::from_millis(100);
    setup.config.connections.idle = Duration::from_millis(100);
    let client = Client::start(&setup);
    let head =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    for rest in [
        "Content-Length: 100\r\n\r\n{\"prompt\":",
        "Content-Length: 100\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ] {
        assert_eq!(
            client.raw_status(format!("{head}{rest}").as_bytes()),
            408,
            "{rest}"
        );
    }
    // Without a whole head there is nothing to answer.
    for silent in ["", "G", head, "POST / HTTP/1.1\r\n"] {
        assert!(
            matches!(client.raw_status(silent.as_bytes()), 0 | 408),
            "{silent}"
        );
    }
    // After an answer it may be idle for as long.
    let kept = client.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(kept.unwrap().starts_with("HTTP/1.1 200"));
    client.serves().await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_leaves_its_connection_usable() {
    let one = Client::start(&setup());
    // Several models, none of which is loaded.
    let none = Client::start(&TestSetup {
        others: vec!["anna".into()],
        default_model: false,
        ..setup()
    });
    let body = " ".repeat(1 << 20);
    let next = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for client in [&one, &none] {
        for (line, status) in [
            ("POST /nothing", 404),
            ("POST /version", 404),
            ("PUT /v1/chat/completions", 405),
            ("POST /health", 405),
        ] {
            let head = format!(
                "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            let answers = client.raw((head + &body + next).as_bytes());
            let answers = answers.unwrap_or_default();
            let refused = format!("HTTP/1.1 {status} ");
            assert!(answers.starts_with(&refused), "{line}: {answers}");
            assert!(answers.contains("HTTP/1.1 200 "), "{line}: {answers}");
        }
    }
}

#[tokio::test]
async fn connections_that_are_idle_make_room_for_those_that_ask() {
    let mut setup = setup();
    setup.config.connections.most = 8;
    let client = Client::start(&setup);
    let idle: Vec<_> = (0..100).map(|_| client.open(b"")).collect();
    for _ in 0..10 {
        assert_eq!(client.get("/health").await.status, 200);
    }
    drop(idle);
    client.serves().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_head_or_while_it_comes() {
    let mut setup = setup();
    setup.config.max_request_bytes = 64 << 10;
    let client = Client::start(&setup);
    let large = " ".repeat((64 << 10) + 1);
    for path in [CHAT, COMPLETIONS, "/tokenize", "/detokenize"] {
        let reply = client.ask("POST", path, &[], large.clone()).await;
        assert_eq!(reply.status, 413, "{path}: {reply:?}");
        assert!(reply.error().1.contains("--max-request-kib"), "{reply:?}");
        let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        assert_eq!(client.raw_status((head + &chunk).as_bytes()), 413, "{path}");
    }
    let just = client.ask("POST", CHAT, &[], " ".repeat(64 << 10)).await;
    assert_eq!(just.status, 400, "{just:?}");
}
