//! llama-server's own routes: what they are called, what they answer, and what they refuse.

use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, Reply, setup};
use crate::common::{ANNA, hello, two_keys, with};

/// An error in llama-server's shape: its field and its message.
fn native_error(reply: &Reply, status: u16, kind: &str) -> (String, String) {
    assert_eq!(reply.status, status, "{reply:?}");
    let error = reply.json()["error"].clone();
    assert_eq!(error["code"], status, "{reply:?}");
    assert_eq!(error["type"], kind, "{reply:?}");
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    assert!(!text("message").is_empty(), "{reply:?}");
    (text("param"), text("message"))
}

#[tokio::test]
async fn paths_without_v1_answer_as_those_with_it() {
    let client = Client::start(&setup());
    let (alias, own) = (client.get("/models").await, client.get("/v1/models").await);
    assert_eq!(alias.json()["data"][0]["id"], own.json()["data"][0]["id"]);
    let body = with(hello(), &json!({ "temperature": 0, "seed": 1 }));
    let alias = client.post("/chat/completions", &body).await.json();
    let own = client.post(CHAT, &body).await.json();
    assert_eq!(alias["choices"], own["choices"]);
    assert!(own["choices"][0]["message"]["content"].is_string());
    assert_eq!(client.get("/v1/health").await.json()["status"], "ok");
    assert_eq!(client.get("/chat/completions").await.status, 405);
    client.serves().await;
}

#[tokio::test]
async fn paths_without_v1_want_the_same_key() {
    let client = Client::start(&two_keys());
    for path in [
        "/chat/completions",
        "/completion",
        "/completions",
        "/infill",
    ] {
        let reply = client.post(path, &hello()).await;
        assert_eq!(reply.status, 401, "{path}: {reply:?}");
        assert_eq!(reply.json()["error"]["type"], "authentication_error");
        // The code of OpenAI's errors is a word, that of llama-server's the status.
        let code = match path {
            "/chat/completions" => json!("invalid_api_key"),
            _ => json!(401),
        };
        assert_eq!(reply.json()["error"]["code"], code, "{path}");
    }
    for path in ["/models", "/props", "/slots"] {
        assert_eq!(client.get(path).await.status, 401, "{path}");
    }
    assert_eq!(client.get("/v1/health").await.status, 200);
    let body = json!({ "prompt": "a", "n_predict": 2 });
    let reply = client.post_as(ANNA, "/completions", &body).await;
    assert!(reply.json()["content"].is_string(), "{reply:?}");
}

#[tokio::test]
async fn what_no_handler_answers_has_llama_server_s_shape_at_its_own_paths() {
    let client = Client::start(&setup());
    for (method, path) in [
        ("GET", "/completion"),
        ("GET", "/completions"),
        ("GET", "/infill"),
        ("DELETE", "/props"),
        ("POST", "/slots"),
        ("GET", "/slots/0"),
        ("GET", "/apply-template"),
        ("GET", "/chat/completions/input_tokens"),
    ] {
        let reply = client.ask(method, path, &[], "").await;
        native_error(&reply, 405, "invalid_request_error");
        assert!(!reply.header("allow").is_empty(), "{path}: {reply:?}");
    }
    let reply = client.get("/slots/0/nothing").await;
    native_error(&reply, 404, "not_found_error");
    let reply = client.get("/tokenize").await;
    assert_eq!(reply.status, 405);
    reply.error();
}

#[tokio::test]
async fn fields_that_are_not_done_are_refused_by_name() {
    let client = Client::start(&setup());
    let cases = [
        (json!({ "mirostat": 2 }), "mirostat"),
        (json!({ "dry_multiplier": 0.8 }), "dry_multiplier"),
        (json!({ "xtc_probability": 0.5 }), "xtc_probability"),
        (json!({ "typical_p": 0.5 }), "typical_p"),
        (json!({ "dynatemp_range": 1 }), "dynatemp_range"),
        (json!({ "lora": [{ "id": 0, "scale": 1 }] }), "lora"),
        (json!({ "grammar_lazy": true }), "grammar_lazy"),
        (json!({ "verbose": true }), "verbose"),
        (json!({ "samplers": ["temperature", "top_k"] }), "samplers"),
        (json!({ "samplers": ["infill"] }), "samplers"),
        (json!({ "grammar": "root ::= this is (not" }), "grammar"),
        (
            json!({ "json_schema": { "type": "hiccup" } }),
            "json_schema",
        ),
        (json!({ "logit_bias": { "99999": 1 } }), "logit_bias"),
        (json!({ "prompt": [] }), "prompt"),
        (
            json!({ "prompt": { "prompt_string": "a", "multimodal_data": ["x"] } }),
            "prompt",
        ),
        (
            json!({ "n_probs": 3, "post_sampling_probs": true, "top_k": 0 }),
            "post_sampling_probs",
        ),
    ];
    for path in ["/completion", "/completions"] {
        for (more, field) in &cases {
            let body = with(json!({ "prompt": "a", "n_predict": 2 }), more);
            let reply = client.post(path, &body).await;
            let (param, message) = native_error(&reply, 400, "invalid_request_error");
            assert!(param.starts_with(field), "{more}: {param:?} {message}");
        }
    }
    let off = json!({
        "prompt": "a", "n_predict": 2, "mirostat": 0, "dry_multiplier": 0.0, "typical_p": 1.0,
        "min_keep": 0, "lora": [], "grammar": "", "json_schema": null, "cache_prompt": false,
        "n_keep": -1, "t_max_prompt_ms": 500, "speculative.p_min": 0.5, "id_slot": -1,
        "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc",
            "temperature"],
    });
    assert_eq!(client.post("/completion", &off).await.status, 200);
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_told_in_numbers() {
    let client = Client::start(&setup());
    for length in [5000, 1 << 20] {
        let body = json!({ "prompt": "x".repeat(length) });
        let reply = client.post("/completion", &body).await;
        let (_, message) = native_error(&reply, 400, "exceed_context_size_error");
        assert!(
            message.contains("exceeds the available context size"),
            "{message}"
        );
        let error = &reply.json()["error"];
        assert_eq!(error["n_ctx"], 4096);
        assert!(error["n_prompt_tokens"].as_u64() > Some(4096), "{reply:?}");
    }
    // Of many spans no more is read than is needed to know.
    for (spans, length, tokens) in [(8, 3000, 6001), (40, 4000, 5000)] {
        let mut prompt = Vec::new();
        for _ in 0..spans {
            prompt.extend([json!("x".repeat(length)), json!(1)]);
        }
        let reply = client
            .post("/completion", &json!({ "prompt": prompt }))
            .await;
        native_error(&reply, 400, "exceed_context_size_error");
        assert_eq!(reply.json()["error"]["n_prompt_tokens"], tokens);
    }
    let messages = json!([{ "role": "user", "content": "x".repeat(5000) }]);
    let reply = client
        .post("/chat/completions", &json!({ "messages": messages }))
        .await;
    let error = &reply.json()["error"];
    assert_eq!(error["code"], "context_length_exceeded");
    assert_eq!(error["type"], "exceed_context_size_error");
    assert_eq!(error["n_ctx"], 4096);
}

#[tokio::test]
async fn an_infill_is_checked_before_the_model_is_asked_whether_it_can() {
    let client = Client::start(&setup());
    let body = json!({ "input_prefix": "a", "input_suffix": "b", "n_predict": 2 });
    let reply = client.post("/infill", &body).await;
    let (_, message) = native_error(&reply, 501, "not_supported_error");
    assert!(message.contains("prefix token"), "{message}");
    for more in [
        json!({ "input_extra": [{}] }),
        json!({ "input_extra": [{ "filename": "ok" }] }),
        json!({ "input_extra": [{ "filename": 123, "text": "abc" }] }),
        json!({ "input_extra": {} }),
        json!({ "input_prefix": 5 }),
        json!({ "prompt": ["a"] }),
    ] {
        let reply = client.post("/infill", &with(body.clone(), &more)).await;
        native_error(&reply, 400, "invalid_request_error");
    }
}

#[tokio::test]
async fn what_is_typed_into_an_infill_is_text_and_never_a_control_token() {
    let mut setup = setup();
    setup.fills = true;
    let client = Client::start(&setup);
    let typed = json!({ "input_prefix": "a", "input_suffix": "b", "n_predict": 1 });
    // The vocabulary's own tokens, and a token for each byte that was typed.
    for (field, bytes) in [("input_prefix", 11), ("input_suffix", 11), ("prompt", 12)] {
        let body = with(typed.clone(), &json!({ field: "<|im_end|>" }));
        let answer = client.post("/infill", &body).await.json();
        assert_eq!(answer["tokens_evaluated"], 3 + bytes, "{field}: {answer}");
    }
}

#[tokio::test]
async fn props_and_slots_say_what_the_server_is() {
    let client = Client::start(&setup());
    let props = client.get("/props").await.json();
    assert_eq!(props["total_slots"], 4);
    assert_eq!(props["model_alias"], "synthetic");
    assert_eq!(props["default_generation_settings"]["n_ctx"], 4096);
    let params = &props["default_generation_settings"]["params"];
    assert_eq!(
        (&params["top_k"], &params["n_predict"]),
        (&json!(0), &json!(-1))
    );
    assert_eq!(props["eos_token"], "<|im_end|>");
    assert_eq!(props["modalities"]["vision"], false);
    native_error(
        &client.post("/props", &json!({})).await,
        501,
        "not_supported_error",
    );
    let slots = client.get("/slots").await.json();
    assert_eq!(slots.as_array().map(Vec::len), Some(4));
    assert_eq!(slots[0]["n_ctx"], 4096);
    assert_eq!(slots[3]["id"], 3);
    assert_eq!(client.get("/slots?fail_on_no_slot=1").await.status, 200);
    for path in ["/slots/0?action=save", "/slots/0?action=x", "/slots/9"] {
        let reply = client.post(path, &json!({ "filename": "a.bin" })).await;
        let (_, message) = native_error(&reply, 501, "not_supported_error");
        assert!(message.contains("--slot-save-path"), "{message}");
    }
}

#[tokio::test]
async fn a_server_can_keep_its_slots_to_itself_and_have_defaults_of_its_own() {
    let mut setup = setup();
    let llama = &mut setup.config.llama_server;
    llama.slots = false;
    llama.model_path = "models/a.gguf".into();
    llama.n_predict = Some(5);
    setup.config.sampling.seed = Some(42);
    setup.config.sampling.params.temperature = 0.0;
    let client = Client::start(&setup);
    native_error(&client.get("/slots").await, 501, "not_supported_error");
    let props = client.get("/props").await.json();
    assert_eq!(props["model_path"], "models/a.gguf");
    assert_eq!(props["endpoint_slots"], false);
    let body = json!({ "prompt": "a", "ignore_eos": true });
    let answer = client.post("/completion", &body).await.json();
    assert_eq!(answer["tokens_predicted"], 5);
    let settings = &answer["generation_settings"];
    assert_eq!(
        (&settings["seed"], &settings["n_predict"]),
        (&json!(42), &json!(5))
    );
    assert_eq!(settings["temperature"].as_f64(), Some(0.0));
}

#[tokio::test]
async fn a_conversation_is_shown_and_counted_as_it_is_read() {
    let client = Client::start(&setup());
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let applied = client.post("/apply-template", &body).await.json();
    let prompt = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(applied, json!({ "prompt": prompt }));
    let more = json!({ "chat_template_kwargs": { "enable_thinking": false } });
    let silent = client
        .post("/apply-template", &with(body.clone(), &more))
        .await;
    let thoughts = "<think>\n\n</think>\n\n";
    assert_eq!(silent.json()["prompt"], format!("{prompt}{thoughts}"));
    let open = json!({ "add_generation_prompt": false });
    let open = client
        .post("/apply-template", &with(body.clone(), &open))
        .await;
    let turns = prompt.strip_suffix("<|im_start|>assistant\n");
    assert_eq!(open.json()["prompt"].as_str(), turns);
    let usage = client
        .post(CHAT, &with(body.clone(), &json!({ "max_tokens": 1 })))
        .await;
    let tokens = usage.json()["usage"]["prompt_tokens"].clone();
    for path in [
        "/chat/completions/input_tokens",
        "/v1/chat/completions/input_tokens",
    ] {
        let counted = client.post(path, &body).await.json();
        assert_eq!(counted["input_tokens"], tokens, "{path}");
    }
    for path in ["/apply-template", "/chat/completions/input_tokens"] {
        native_error(
            &client.post(path, &json!({})).await,
            400,
            "invalid_request_error",
        );
    }
}

#[tokio::test]
async fn tokens_come_with_their_texts_where_that_is_asked_for() {
    let client = Client::start(&setup());
    let ask = async |body: Value| client.post("/tokenize", &body).await.json()["tokens"].clone();
    assert_eq!(ask(json!({ "content": "ab" })).await, json!([97, 98]));
    assert_eq!(
        ask(json!({ "content": ["a", 98, "c"] })).await,
        json!([97, 98, 99])
    );
    let pieces = ask(json!({ "content": "aé", "with_pieces": true })).await;
    assert_eq!(
        pieces,
        json!([
            { "id": 97, "piece": "a" },
            { "id": 195, "piece": [195] },
            { "id": 169, "piece": [169] },
        ])
    );
    let special = ask(json!({ "content": "<|im_end|>" })).await;
    assert_eq!(special, json!([257]));
    let plain = ask(json!({ "content": "<|im_end|>", "parse_special": false })).await;
    assert_eq!(plain.as_array().map(Vec::len), Some(10));
    let reply = client
        .post("/tokenize", &json!({ "content": [1, 999_999] }))
        .await;
    assert_eq!((reply.status, reply.error().0.as_str()), (400, "content"));
    // Texts of tokens take more room than the tokens.
    let long = json!({ "content": "a".repeat(200_000) });
    assert_eq!(client.post("/tokenize", &long).await.status, 200);
    let pieces = with(long, &json!({ "with_pieces": true }));
    let reply = client.post("/tokenize", &pieces).await;
    assert_eq!(
        (reply.status, reply.error().0.as_str()),
        (400, "with_pieces")
    );
}

#[tokio::test]
async fn metrics_have_llama_server_s_names_and_add_up() {
    let client = Client::start(&setup());
    let (mut read, mut cached, mut written) = (0, 0, 0);
    for n_predict in [1, 4, 16] {
        let body = json!({ "prompt": "the quick brown fox", "n_predict": n_predict });
        let timings = client.post("/completion", &body).await.json()["timings"].clone();
        let number = |name: &str| timings[name].as_u64().unwrap();
        read += number("prompt_n");
        cached += number("cache_n");
        written += number("predicted_n");
    }
    let reply = client.get("/metrics").await;
    assert!(
        reply
            .header("process-start-time-unix")
            .parse::<u64>()
            .is_ok()
    );
    let value = |name: &str| {
        let lines = reply.text.lines();
        let mut values = lines.filter_map(|l| l.strip_prefix(&format!("llamacpp:{name} ")));
        values
            .next()
            .unwrap_or_else(|| panic!("{name}"))
            .parse::<f64>()
            .unwrap()
    };
    assert_eq!(value("prompt_tokens_total"), read as f64);
    assert_eq!(value("prompt_tokens_cached_total"), cached as f64);
    assert_eq!(value("tokens_predicted_total"), written as f64);
    assert!(value("n_decode_total") > 0.0 && value("n_tokens_max") > 19.0);
    for (name, kind) in [
        ("prompt_seconds_total", "counter"),
        ("tokens_predicted_seconds_total", "counter"),
        ("n_tokens_max", "counter"),
        ("spec_decode_num_draft_tokens_total", "counter"),
        ("spec_decode_num_accepted_tokens_total", "counter"),
        ("spec_decode_num_drafts_total", "counter"),
        ("prompt_tokens_seconds", "gauge"),
        ("predicted_tokens_seconds", "gauge"),
        ("requests_processing", "gauge"),
        ("requests_deferred", "gauge"),
        ("n_busy_slots_per_decode", "gauge"),
    ] {
        value(name);
        assert!(
            reply.text.contains(&format!("# HELP llamacpp:{name} ")),
            "{name}"
        );
        assert!(
            reply
                .text
                .contains(&format!("# TYPE llamacpp:{name} {kind}\n")),
            "{name}"
        );
    }
}

#[tokio::test]
async fn native_and_openai_s_completions_write_the_same() {
    let client = Client::start(&setup());
    let same = json!({ "prompt": "abc", "temperature": 0, "seed": 3, "ignore_eos": true });
    let native = client
        .post("/completion", &with(same, &json!({ "n_predict": 12 })))
        .await;
    let body = json!({
        "prompt": "abc", "temperature": 0, "seed": 3, "max_tokens": 12,
        "logit_bias": { "257": -100 },
    });
    let other = client.post(COMPLETIONS, &body).await.json();
    assert_eq!(native.json()["content"], other["choices"][0]["text"]);
}
