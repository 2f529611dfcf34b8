//! What gateways and load balancers go by: load, readiness, the head of a stream.

use std::time::Duration;

use card_server::ServeError;
use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{COMPLETIONS, Client, endless, setup, with_keys};
use crate::common::{a, with};

#[tokio::test]
async fn loads_tell_what_runs_and_what_waits() {
    let client = Client::start(&TestSetup {
        parallel: 1,
        forward: Duration::from_millis(5),
        ..setup()
    });
    let loads = client.get("/v1/loads").await.json();
    assert_eq!(loads["dp_rank_count"], 1);
    let idle = &loads["loads"][0];
    assert_eq!(idle["num_running_reqs"], 0);
    assert_eq!(idle["max_running_requests"], 1);
    let body = endless(4000).to_string();
    let first = client.send("POST", COMPLETIONS, &[], body.clone()).await;
    let second = client.send("POST", COMPLETIONS, &[], body).await;
    client
        .until("one that runs and one that waits", |health| {
            health["running"] == 1 && health["waiting"] == 1
        })
        .await;
    let query = "/v1/loads?include=core,disagg,queues,memory";
    let loads = client.get(query).await.json()["loads"][0].clone();
    assert_eq!(
        loads,
        json!({
            "dp_rank": 0, "num_running_reqs": 1, "num_waiting_reqs": 1, "num_total_reqs": 2,
            "max_running_requests": 1, "utilization": 1.0,
        })
    );
    drop((first, second));
    client.serves().await;
}

#[tokio::test]
async fn loads_want_a_key_where_there_are_keys() {
    let client = Client::start(&with_keys(&[("gateway", "secret")]));
    assert_eq!(client.get("/v1/loads").await.status, 401);
    let key = [("authorization", "Bearer secret")];
    let reply = client.ask("GET", "/v1/loads", &key, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_path_of_another_server_is_refused_with_what_there_is_in_its_place() {
    let client = Client::start(&setup());
    for (method, path, instead) in [
        ("GET", "/health_generate", "GET /health"),
        ("GET", "/server_info", "GET /v1/models"),
        ("GET", "/get_model_info", "GET /v1/models"),
        ("GET", "/loads?model=synthetic", "GET /v1/loads"),
        ("GET", "/version", "GET /api/version"),
        ("POST", "/flush_cache", "a restart"),
        ("POST", "/generate", "POST /v1/completions"),
    ] {
        let reply = client.ask(method, path, &[], "{}").await;
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
        let (_, message) = reply.error();
        let name = path.split('?').next().unwrap_or_default();
        assert!(
            message.contains(name) && message.contains(instead),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_path_that_is_misspelled_is_refused_with_the_one_that_was_meant() {
    let mut several = setup();
    several.others = vec!["other".to_owned()];
    for setup in [setup(), several] {
        let client = Client::start(&setup);
        for (method, path, meant) in [
            (
                "POST",
                "/v1/chat/completion",
                "did you mean POST /v1/chat/completions?",
            ),
            (
                "POST",
                "/v1/v1/chat/completions",
                "did you mean POST /v1/chat/completions?",
            ),
            ("GET", "/v1/model", "did you mean GET /v1/models?"),
            ("POST", "/v1/audio/speech", "GET /openapi.json has them all"),
        ] {
            let reply = client.ask(method, path, &[], "{}").await;
            assert_eq!(reply.status, 404, "{path}: {reply:?}");
            let (_, message) = reply.error();
            assert!(message.contains(meant), "{path}: {message}");
        }
        // Nothing of a path comes back.
        let path = format!("/{}", "nowhere".repeat(100));
        let reply = client.ask("GET", &path, &[], "").await;
        assert_eq!(reply.status, 404, "{reply:?}");
        assert!(!reply.text.contains("nowhere") && reply.text.len() < 500);
        let anthropic = client.post("/v1/messages/count_token", &json!({})).await;
        assert_eq!(anthropic.json()["type"], "error", "{anthropic:?}");
        assert!(anthropic.text.contains("POST /v1/messages/count_tokens"));
    }
}

#[tokio::test]
async fn a_server_that_leaves_says_so_first_and_still_takes_requests() {
    let mut setup = TestSetup {
        // The engine's end cuts the delay short, which is far longer than this test.
        break_after: Some(20),
        ..setup()
    };
    setup.config.drain_delay = Duration::from_secs(3600);
    let mut client = Client::start(&setup);
    assert_eq!(client.get("/health").await.status, 200);
    client.server.leave();
    client
        .until("the end's beginning", |health| {
            health["status"] == "draining"
        })
        .await;
    let health = client.get("/health").await;
    assert_eq!(health.status, 503, "{health:?}");
    let reply = client.post(COMPLETIONS, &a()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let long = with(endless(1000), &json!({ "stream": false }));
    let reply = client.post(COMPLETIONS, &long).await;
    assert!(reply.status >= 500, "{reply:?}");
    assert!(matches!(client.server.wait(), Err(ServeError::Engine(_))));
}

#[tokio::test]
async fn a_stream_s_head_may_wait_so_that_a_failure_has_a_status() {
    let mut setup = TestSetup {
        forward: Duration::from_millis(1500),
        ..setup()
    };
    setup.config.request_timeout = Duration::from_millis(600);
    let usual = Client::start(&setup);
    let reply = usual.post(COMPLETIONS, &endless(10)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let events = reply.events();
    let error: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
    assert!(error["error"]["message"].is_string(), "{reply:?}");
    setup.config.stream_head_wait = Duration::from_secs(60);
    let patient = Client::start(&setup);
    let reply = patient.post(COMPLETIONS, &endless(10)).await;
    assert_eq!(reply.status, 504, "{reply:?}");
    reply.error();
}
