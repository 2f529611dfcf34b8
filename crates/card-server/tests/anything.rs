//! Whatever is asked, with any method, at any path: an answer or a reason, never a fault of
//! the server's own.

#![allow(clippy::unwrap_used)]

mod client;

use card_server::testing::TestSetup;
use client::{CHAT, COMPLETIONS, Client, setup};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

const KEYS: &str = "model messages prompt role content temperature top_p top_k min_p n seed stop \
    stream stream_options include_usage max_tokens max_completion_tokens logprobs top_logprobs \
    logit_bias tools tool_choice type function name parameters arguments tool_calls \
    response_format json_schema schema prediction echo text repetition_penalty frequency_penalty \
    presence_penalty tokens parse_special $ref pattern enum anyOf properties items 0 97 257 -1 \
    input instructions suffix speculation card functions function_call format include reasoning \
    store call_id output id structured_outputs json json_schema parallel_tool_calls";

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(KEYS.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3i64..300).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![0.0, -0.0, 1e-45, 1e-38, 0.5, 1e30, 1e300]).prop_map(Value::from),
    ]
}

fn word() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "a",
        "auto",
        "required",
        "none",
        "text",
        "function",
        "json_schema",
        "json_object",
        "user",
        "assistant",
        "tool",
        "developer",
        "content",
        "f",
        "object",
        "string",
        "(a{1,99}){1,99}",
        "<|im_end|>",
        "</tool_call>",
        "#/$defs/a",
        "\u{0}",
        "\u{fffd}",
    ];
    prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        prop::collection::vec(any::<char>(), 0..12)
            .prop_map(|c| Value::from(c.into_iter().collect::<String>())),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        word(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// A request that is right, but for a few fields.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let base = json!({
        "messages": [{ "role": "user", "content": "hi" }], "prompt": "hi", "max_tokens": 4,
        "content": "hi", "tokens": [65], "input": "hi",
    });
    prop::collection::vec((key(), value()), 0..4).prop_map(move |odd| {
        let mut body = base.clone();
        for (key, value) in odd {
            body[key] = value;
        }
        body.to_string().into_bytes()
    })
}

/// A right request with a schema that nobody meant.
fn schema() -> impl Strategy<Value = Vec<u8>> {
    value().prop_map(|schema| {
        let format =
            json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": schema } });
        let body = json!({
            "messages": [{ "role": "user", "content": "hi" }], "prompt": "hi", "max_tokens": 4,
            "response_format": format,
        });
        body.to_string().into_bytes()
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => nearly_right(),
        2 => schema(),
        2 => prop::collection::btree_map(key(), value(), 0..8).prop_map(|m| {
            let fields: Map<String, Value> = m.into_iter().collect();
            Value::Object(fields).to_string().into_bytes()
        }),
        1 => value().prop_map(|v| v.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

fn path() -> impl Strategy<Value = String> {
    let known = [
        CHAT,
        COMPLETIONS,
        "/v1/responses",
        "/tokenize",
        "/detokenize",
        "/v1/models",
        "/v1/models/synthetic",
        "/v1/responses/resp_1",
        "/v1/models/%ff",
        "/v1/models/%00%0d%0a",
        "/health",
        "/metrics",
        "/openapi.json",
        "/",
        "//",
        "/v1/chat/completions/",
        "/v1/completions?echo=true",
        "/%2e%2e/%2e%2e/etc/passwd",
    ];
    let odd = prop::collection::vec(
        prop::sample::select(vec!['a', '/', '%', '.', '2', 'f', '-', ';']),
        0..12,
    );
    prop_oneof![
        // Most at the paths that do something.
        8 => prop::sample::select(known[..5].to_vec()).prop_map(str::to_owned),
        2 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => odd.prop_map(|c| format!("/{}", c.into_iter().collect::<String>())),
    ]
}

#[test]
fn whatever_is_asked_is_answered_without_a_fault_of_the_server() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut setup = TestSetup {
        // So that texts without a limit are short.
        context: 64,
        ..setup()
    };
    // Its stream of rounds does not end.
    setup.config.page = false;
    let client = Client::start(&setup);
    let methods = [
        "POST", "POST", "POST", "POST", "GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD",
    ];
    let config = Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    };
    let asked = (prop::sample::select(methods.to_vec()), path(), body());
    let mut runner = TestRunner::new(config);
    let found = runner.run(&asked, |(method, path, body)| {
        let reply = runtime.block_on(client.ask(method, &path, &[], body));
        prop_assert!(reply.status < 500, "{reply:?}");
        prop_assert!(reply.text.len() < 1 << 20, "{} bytes", reply.text.len());
        if reply.status >= 400 && method != "HEAD" {
            reply.error();
        }
        Ok(())
    });
    found.unwrap();
    runtime.block_on(client.serves());
}
