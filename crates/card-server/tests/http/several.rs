//! Several models under one address.

use std::pin::Pin;
use std::time::Duration;

use card_server::testing::{LoadGate, TestSetup};
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, Reply, endless, setup, with_keys};
use crate::common::{a, hello, with};

/// Three models: the default one, `anna` and `bert`; as many are loaded as `most` says.
fn three(gate: &LoadGate, most: usize) -> TestSetup {
    gate.open();
    let mut setup = TestSetup {
        others: vec!["anna".into(), "bert".into()],
        gate: Some(gate.clone()),
        ..setup()
    };
    setup.config.models.most = most;
    setup
}

/// A completion by the model of this name.
fn by(name: &str) -> Value {
    with(a(), &json!({ "model": name, "max_tokens": 8, "seed": 1 }))
}

/// The text and the model of an answer.
fn said(reply: &Reply) -> (String, String) {
    let answer = reply.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&answer["choices"][0]["text"]), text(&answer["model"]))
}

/// What `/v1/models` says of each: name and state.
async fn states(client: &Client) -> Vec<(String, String)> {
    let models = client.get("/v1/models").await.json();
    let entries = models["data"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries
        .map(|entry| (text(&entry["id"]), text(&entry["status"]["value"])))
        .collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    owned.collect()
}

#[tokio::test]
async fn a_model_is_loaded_when_a_request_names_it() {
    let gate = LoadGate::default();
    let client = Client::start(&three(&gate, 4));
    let expected = [
        ("synthetic", "loaded"),
        ("anna", "unloaded"),
        ("bert", "unloaded"),
    ];
    assert_eq!(states(&client).await, pairs(&expected));
    let unnamed = client
        .post(
            COMPLETIONS,
            &with(a(), &json!({ "max_tokens": 8, "seed": 1 })),
        )
        .await;
    let default = client.post(COMPLETIONS, &by("synthetic")).await;
    assert_eq!(said(&unnamed), said(&default));
    assert_eq!(gate.loads(), ["synthetic"]);
    let anna = client.post(COMPLETIONS, &by("anna")).await;
    assert_eq!(anna.status, 200, "{anna:?}");
    assert_eq!(said(&anna).1, "anna");
    assert_ne!(said(&anna).0, said(&default).0, "it is another model");
    assert_eq!(
        said(&client.post(COMPLETIONS, &by("anna")).await),
        said(&anna)
    );
    assert_eq!(gate.loads(), ["synthetic", "anna"]);
    let models = client.get("/v1/models").await.json();
    let anna = &models["data"][1];
    assert_eq!(anna["status"]["value"], "loaded");
    assert_eq!(
        anna["capabilities"],
        json!(["completion", "tools", "thinking"])
    );
    assert_eq!(anna["meta"]["drafter"], "noisy");
    assert_eq!(models["data"][0]["meta"]["default"], true);
    assert_eq!(models["data"][2]["status"]["value"], "unloaded");
}

#[tokio::test]
async fn every_protocol_names_its_model() {
    let gate = LoadGate::default();
    let client = Client::start(&three(&gate, 1));
    let named = |body: Value, name: &str| with(body, &json!({ "model": name }));
    let messages = json!({ "messages": [{ "role": "user", "content": "a" }], "max_tokens": 4 });
    let cases = [
        ("/chat/completions", "bert", hello()),
        (CHAT, "anna", hello()),
        ("/v1/messages", "bert", messages),
        (
            "/api/chat",
            "anna",
            json!({ "messages": [], "stream": false }),
        ),
        (
            "/api/generate",
            "bert:latest",
            json!({ "prompt": "a", "stream": false,
            "options": { "num_predict": 4 } }),
        ),
        (
            "/completion",
            "anna",
            json!({ "prompt": "a", "n_predict": 4 }),
        ),
        (
            "/v1/responses",
            "bert",
            json!({ "input": "a", "max_output_tokens": 16 }),
        ),
        ("/tokenize", "anna", json!({ "content": "a" })),
    ];
    for (path, name, body) in cases {
        let reply = client.post(path, &named(body, name)).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let loaded = gate.loads().pop();
        let wanted = name.trim_end_matches(":latest");
        assert_eq!(loaded.as_deref(), Some(wanted), "{path}");
    }
    for (path, name) in [("/props?model=bert", "bert"), ("/slots?model=anna", "anna")] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
        assert_eq!(gate.loads().pop().as_deref(), Some(name));
    }
    let props = client.get("/props?model=%62ert").await.json();
    assert_eq!(props["model_alias"], "bert");
}

#[tokio::test]
async fn a_model_that_is_not_there_is_refused_with_those_there_are() {
    let gate = LoadGate::default();
    let client = Client::start(&three(&gate, 4));
    let reply = client.post(COMPLETIONS, &by("carl")).await;
    assert_eq!(reply.status, 404, "{reply:?}");
    let error = &reply.json()["error"];
    assert_eq!(error["code"], "model_not_found");
    assert_eq!(error["param"], "model");
    let (_, message) = reply.error();
    for name in ["carl", "synthetic", "anna", "bert"] {
        assert!(message.contains(name), "{message}");
    }
    for (path, status) in [
        ("/props?model=carl", 404),
        ("/metrics?model=carl", 404),
        ("/v1/models/carl", 404),
        ("/v1/models/anna", 200),
        ("/nothing", 404),
    ] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
    let reply = client.post("/nothing", &by("anna")).await;
    assert_eq!(reply.status, 404);
    let reply = client.ask("PUT", CHAT, &[], by("anna").to_string()).await;
    assert_eq!(reply.status, 405);
    // Nobody had to load a model to hear that.
    assert_eq!(gate.loads(), ["synthetic"]);
}

#[tokio::test]
async fn without_a_default_a_request_has_to_name_its_model() {
    let gate = LoadGate::default();
    let client = Client::start(&TestSetup {
        default_model: false,
        ..three(&gate, 4)
    });
    assert_eq!(client.get("/health").await.json()["status"], "ok");
    assert_eq!(client.get("/nothing").await.status, 404);
    assert!(gate.loads().is_empty());
    let reply = client.post(COMPLETIONS, &a()).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let (field, message) = reply.error();
    assert!(field == "model" && message.contains("anna"), "{message}");
    assert_eq!(client.post(COMPLETIONS, &by("bert")).await.status, 200);
    assert_eq!(gate.loads(), ["bert"]);
}

#[tokio::test]
async fn a_model_in_use_stays_and_an_idle_one_makes_room() {
    let gate = LoadGate::default();
    let mut setup = three(&gate, 1);
    setup.forward = Duration::from_millis(5);
    let client = Client::start(&setup);
    let body = with(endless(100_000), &json!({ "model": "anna" }));
    let running = client
        .send("POST", COMPLETIONS, &[], body.to_string())
        .await;
    assert_eq!(running.status().as_u16(), 200);
    client
        .until("its begin", |health| health["running"] == 1)
        .await;
    // There is room for one, which is at work for seconds. It is waited for.
    let bert = by("bert");
    let waiting = client.post(COMPLETIONS, &bert);
    let waited = tokio::time::timeout(Duration::from_millis(300), waiting).await;
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(gate.loads(), ["synthetic", "anna"]);
    drop(running);
    client
        .until("its end", |health| health["running"] == 0)
        .await;
    let reply = client.post(COMPLETIONS, &by("bert")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let expected = [
        ("synthetic", "unloaded"),
        ("anna", "unloaded"),
        ("bert", "loaded"),
    ];
    assert_eq!(states(&client).await, pairs(&expected));
    // What was found out about a model is not forgotten.
    let shown = client.post("/api/show", &json!({ "model": "anna" })).await;
    assert_eq!(shown.json()["model_info"]["card.vocab_size"], 258);
    let running = client.get("/api/ps").await.json();
    assert_eq!(running["models"].as_array().unwrap().len(), 1);
    assert_eq!(running["models"][0]["name"], "bert");
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_harms_no_other() {
    let gate = LoadGate::default();
    let client = Client::start(&three(&gate, 4));
    gate.break_model("anna");
    for _ in 0..2 {
        let reply = client.post(COMPLETIONS, &by("anna")).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(!reply.header("retry-after").is_empty());
        assert!(!reply.text.contains("secret folder"), "{reply:?}");
    }
    // It is not tried again at once.
    assert_eq!(gate.loads(), ["synthetic", "anna"]);
    let models = client.get("/v1/models").await.json();
    assert_eq!(models["data"][1]["status"]["failed"], true);
    assert_eq!(client.post(COMPLETIONS, &by("bert")).await.status, 200);
}

#[tokio::test]
async fn models_are_counted_apart_and_go_on_counting() {
    let gate = LoadGate::default();
    let client = Client::start(&three(&gate, 1));
    for name in ["anna", "bert", "anna"] {
        let body = with(by(name), &json!({ "logit_bias": { "257": -100 } }));
        assert_eq!(client.post(COMPLETIONS, &body).await.status, 200);
    }
    let all = client.get("/metrics").await.text;
    for line in [
        "card_generated_tokens_total{model=\"anna\"} 16",
        "card_generated_tokens_total{model=\"bert\"} 8",
        "llamacpp:tokens_predicted_total{model=\"anna\"} 16",
        "card_models_loaded 1",
        "card_requests_total{path=\"/v1/completions\",status=\"200\"} 3",
    ] {
        assert!(all.contains(line), "{line}: {all}");
    }
    let bert = client.get("/metrics?model=bert").await.text;
    assert!(bert.contains("model=\"bert\"") && !bert.contains("model=\"anna\""));
}

#[tokio::test]
async fn the_audit_log_names_the_model_and_keys_stay_apart() {
    let folder = std::env::temp_dir().join(format!("card-several-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let gate = LoadGate::default();
    let mut setup = TestSetup {
        keys: with_keys(&[("one", "key-one"), ("two", "key-two")]).keys,
        ..three(&gate, 4)
    };
    setup.config.audit = Some(card_audit::AuditConfig {
        path: folder.join("audit.log"),
        text: false,
        rotate_bytes: 1 << 20,
        key: None,
    });
    let client = Client::start(&setup);
    let reply = client.post(COMPLETIONS, &by("anna")).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    // A stranger loads nothing.
    assert_eq!(gate.loads(), ["synthetic"]);
    let long = with(by("anna"), &json!({ "prompt": "x".repeat(64) }));
    for (key, name) in [
        ("key-one", "anna"),
        ("key-two", "anna"),
        ("key-two", "carl"),
    ] {
        let body = with(long.clone(), &json!({ "model": name }));
        let reply = client
            .post_as(&format!("Bearer {key}"), COMPLETIONS, &body)
            .await;
        if name == "carl" {
            assert_eq!(reply.status, 404);
            continue;
        }
        // What another key sent is not found in the cache.
        let cached = &reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"];
        assert!(cached.is_null() || *cached == 0, "{key}: {reply:?}");
    }
    drop(client);
    let log = std::fs::read_to_string(folder.join("audit.log")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        log.contains("anna") && !log.contains("\"model\":\"bert\""),
        "{log}"
    );
    assert!(log.contains("carl"), "{log}");
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_by_name() {
    let gate = LoadGate::default();
    let client = Client::start(&three(&gate, 4));
    let anna = json!({ "model": "anna" });
    let unloaded = client.post("/models/unload", &anna).await;
    assert_eq!(unloaded.status, 400, "it is not loaded: {unloaded:?}");
    for _ in 0..2 {
        let loaded = client.post("/models/load", &anna).await;
        assert_eq!(loaded.json(), json!({ "success": true }));
    }
    assert_eq!(gate.loads(), ["synthetic", "anna"]);
    let unloaded = client.post("/models/unload", &anna).await;
    assert_eq!(unloaded.json(), json!({ "success": true }));
    assert_eq!(states(&client).await[1], ("anna".into(), "unloaded".into()));
    for (body, status) in [(json!({ "model": "carl" }), 404), (json!({}), 400)] {
        for path in ["/models/load", "/models/unload"] {
            let reply = client.post(path, &body).await;
            assert_eq!(reply.status, status, "{path}: {reply:?}");
            // In llama-server's shape.
            assert_eq!(reply.json()["error"]["code"], status, "{reply:?}");
        }
    }
    let alone = Client::start(&setup());
    let body = json!({ "model": "synthetic" });
    assert_eq!(alone.post("/models/load", &body).await.status, 200);
    assert_eq!(alone.post("/models/unload", &body).await.status, 501);
}

#[tokio::test]
async fn whoever_waits_for_a_model_has_a_place_in_the_line() {
    let anna = json!({ "model": "anna" });
    for load_first in [true, false] {
        // Nothing is loaded as long as the gate is shut, and the line has one place.
        let gate = LoadGate::default();
        let client = Client::start(&TestSetup {
            parallel: 1,
            queue: 0,
            default_model: false,
            others: vec!["anna".into()],
            gate: Some(gate.clone()),
            ..setup()
        });
        let load: Pin<Box<dyn Future<Output = Reply> + '_>> =
            Box::pin(client.post("/models/load", &anna));
        let props: Pin<Box<dyn Future<Output = Reply> + '_>> =
            Box::pin(client.get("/props?model=anna"));
        let (first, second) = if load_first {
            (load, props)
        } else {
            (props, load)
        };
        let second = async {
            while gate.loads().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let answered = tokio::time::timeout(Duration::from_secs(10), second).await;
            gate.open();
            answered.expect("the line has an end")
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.status, 200, "{load_first}: {first:?}");
        assert_eq!(second.status, 429, "{load_first}: {second:?}");
    }
}

/// Waits until a model is being loaded.
async fn until_loading(client: &Client, name: &str) {
    let loading = (name.to_owned(), "loading".to_owned());
    let waiting = async { while !states(client).await.contains(&loading) {} };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    waited.expect("it is loaded");
}

#[tokio::test]
async fn who_waits_for_a_model_is_not_in_the_way_of_who_asks_for_another() {
    // Each line has one place, that of the front too, where bodies are read.
    let gate = LoadGate::default();
    let client = Client::start(&TestSetup {
        parallel: 1,
        queue: 0,
        ..three(&gate, 4)
    });
    gate.shut();
    let (asked, anna) = (by("anna"), json!({ "model": "anna" }));
    let waiting = client.post(COMPLETIONS, &asked);
    let others = async {
        until_loading(&client, "anna").await;
        let loaded = client.post(COMPLETIONS, &by("synthetic")).await;
        // The line of this one is full, whatever is asked.
        let full = [
            client.post(COMPLETIONS, &asked).await,
            client.get("/props?model=anna").await,
            client.post("/models/unload", &anna).await,
        ];
        gate.open();
        (loaded.status, full.map(|reply| reply.status))
    };
    let (waited, others) = tokio::join!(waiting, others);
    assert_eq!(others, (200, [429; 3]));
    assert_eq!(waited.status, 200, "{waited:?}");
}

#[tokio::test]
async fn a_model_in_use_is_not_unloaded() {
    let gate = LoadGate::default();
    let mut setup = three(&gate, 4);
    setup.forward = Duration::from_millis(5);
    let client = Client::start(&setup);
    let body = with(endless(100_000), &json!({ "model": "anna" }));
    let running = client
        .send("POST", COMPLETIONS, &[], body.to_string())
        .await;
    assert_eq!(running.status().as_u16(), 200);
    let anna = json!({ "model": "anna" });
    let reply = client.post("/models/unload", &anna).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.text.contains("in use"), "{reply:?}");
    drop(running);
}

#[tokio::test]
async fn a_request_loads_no_model_where_none_shall() {
    let gate = LoadGate::default();
    let mut setup = TestSetup {
        default_model: false,
        ..three(&gate, 2)
    };
    setup.config.llama_server.autoload = false;
    let client = Client::start(&setup);
    let props = client.get("/props").await.json();
    assert_eq!(props["role"], "router");
    assert_eq!(props["max_instances"], 2);
    assert_eq!(props["models_autoload"], false);
    let refused = client.post(COMPLETIONS, &by("anna")).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text.contains("/models/load"), "{refused:?}");
    assert!(gate.loads().is_empty());
    let anna = json!({ "model": "anna" });
    assert_eq!(client.post("/models/load", &anna).await.status, 200);
    assert_eq!(client.post(COMPLETIONS, &by("anna")).await.status, 200);
}
