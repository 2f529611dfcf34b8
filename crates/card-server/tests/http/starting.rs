//! A server whose default model is still being loaded.

#[cfg(target_os = "linux")]
use std::io::{Read, Write};
#[cfg(target_os = "linux")]
use std::net::{IpAddr, TcpListener, TcpStream};

use card_server::ServeError;
use card_server::testing::{LoadGate, TestSetup};
use serde_json::json;

use crate::client::{CHAT, COMPLETIONS, Client, setup};
use crate::common::{a, hello};

fn gated(gate: &LoadGate) -> TestSetup {
    TestSetup {
        gate: Some(gate.clone()),
        ..setup()
    }
}

#[tokio::test]
async fn it_listens_before_a_model_is_loaded_and_says_so() {
    let gate = LoadGate::default();
    let client = Client::listening(&gated(&gate));
    for path in ["/health", "/v1/health"] {
        let health = client.get(path).await;
        assert_eq!(health.status, 503, "{health:?}");
        assert_eq!(
            health.json(),
            json!({ "error": {
                "code": 503, "message": "Loading model", "type": "unavailable_error",
            } })
        );
        assert!(!health.header("retry-after").is_empty(), "{health:?}");
    }
    // What needs no model is there.
    for path in [
        "/",
        "/openapi.json",
        "/metrics",
        "/api/version",
        "/api/tags",
    ] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let models = client.get("/v1/models").await.json();
    let model = &models["data"][0];
    assert_eq!(model["id"], "synthetic");
    assert_eq!(model["meta"]["context"], 4096);
    assert!(model["status"]["value"] != "loaded" && model["capabilities"].is_null());
    assert_eq!(client.get("/api/ps").await.json(), json!({ "models": [] }));
    gate.open();
    client
        .until("the model", |health| health["status"] == "ok")
        .await;
    assert_eq!(client.post(COMPLETIONS, &a()).await.status, 200);
    let models = client.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["status"]["value"], "loaded");
}

#[tokio::test]
async fn who_waits_for_a_model_hears_how_far_it_is() {
    let gate = LoadGate::default();
    let client = Client::listening(&gated(&gate));
    gate.tell_percent(42);
    let progress = json!({ "what": "target", "percent": 42 });
    let health = client.get("/health").await;
    assert_eq!(health.status, 503, "{health:?}");
    let error = health.json()["error"].clone();
    assert_eq!(error["progress"], progress);
    assert_eq!(error["message"], "Loading model");
    // The load begins a moment after the server listens.
    let status = async || client.get("/v1/models").await.json()["data"][0]["status"].clone();
    let mut loading = status().await;
    while loading["value"] == "unloaded" {
        loading = status().await;
    }
    assert_eq!(
        loading,
        json!({ "value": "loading", "failed": false, "progress": progress })
    );
    gate.open();
    client
        .until("the model", |health| health["status"] == "ok")
        .await;
    let loaded = json!({ "value": "loaded", "failed": false });
    assert_eq!(status().await, loaded);
}

#[tokio::test]
async fn whoever_asks_for_a_model_meanwhile_hears_when_to_ask_again() {
    let gate = LoadGate::default();
    let client = Client::listening(&gated(&gate));
    for path in [CHAT, COMPLETIONS, "/v1/responses", "/tokenize"] {
        let reply = client.post(path, &hello()).await;
        assert_eq!(reply.status, 503, "{path}: {reply:?}");
        assert!(!reply.header("retry-after").is_empty(), "{path}");
        assert_eq!(reply.error().1, "Loading model", "{path}");
    }
    let native = client.post("/completion", &a()).await.json();
    assert_eq!(native["error"]["type"], "unavailable_error");
    assert_eq!(native["error"]["message"], "Loading model");
    let ollama = client.post("/api/chat", &hello()).await.json();
    assert_eq!(ollama["error"], "Loading model");
    let anthropic = client.post("/v1/messages", &hello()).await.json();
    assert_eq!(anthropic["type"], "error");
    for path in ["/props", "/slots", "/live", "/v1/no/such/path"] {
        let reply = client.get(path).await;
        assert_eq!(reply.status, 503, "{path}: {reply:?}");
    }
    // As llama-server's clients read it.
    for path in ["/props", "/slots"] {
        let error = client.get(path).await.json()["error"].clone();
        assert_eq!(
            (&error["code"], &error["message"], &error["type"]),
            (
                &json!(503),
                &json!("Loading model"),
                &json!("unavailable_error")
            ),
            "{path}"
        );
    }
    gate.open();
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_ends_the_server_with_the_reason() {
    let gate = LoadGate::default();
    gate.break_model("synthetic");
    let mut client = Client::listening(&gated(&gate));
    assert_eq!(client.get("/health").await.status, 503);
    gate.open();
    let ended = client.server.wait();
    let Err(ServeError::Load(why)) = ended else {
        panic!("{ended:?}");
    };
    assert!(why.contains("a broken model"), "{why}");
}

// All of 127.0.0.0/8 is this machine there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn it_listens_at_several_addresses() {
    let mut setup = setup();
    setup.config.hosts = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
    let client = Client::start(&setup);
    assert_eq!(client.get("/health").await.status, 200);
    answers_at(&client, "127.0.0.2");
}

/// A server answers at an address of this machine, at the port that it said.
#[cfg(target_os = "linux")]
fn answers_at(client: &Client, host: &str) {
    let (_, port) = client.server.url.rsplit_once(':').unwrap();
    let mut stream = TcpStream::connect(format!("{host}:{port}")).unwrap();
    let asked = format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_wildcard_may_stand_beside_addresses_that_it_covers() {
    let (all, every, one) = ("0.0.0.0", "::", "127.0.0.1");
    let has_ipv6 = TcpListener::bind("[::]:0").is_ok();
    for named in [
        [one, one],
        [all, one],
        [one, all],
        [all, every],
        [every, one],
    ] {
        // A machine without IPv6 has no such address.
        if named.contains(&every) && !has_ipv6 {
            continue;
        }
        let mut setup = setup();
        let hosts = named.iter().map(|host| host.parse().unwrap());
        setup.config.hosts = hosts.collect();
        answers_at(&Client::start(&setup), one);
    }
}

#[tokio::test]
async fn without_an_address_it_does_not_start() {
    let mut setup = setup();
    setup.config.hosts.clear();
    let started = card_server::testing::start(&setup).map(|_| ());
    assert!(matches!(started, Err(ServeError::NoAddress)), "{started:?}");
}
