//! Whatever comes in as Anthropic's or Ollama's: a job that can run, or an error of 400 that says
//! what is wrong; never a panic, and in time linear in the body.

#![allow(clippy::unwrap_used)]

mod invariants;

use std::time::{Duration, Instant};

use invariants::other_protocols::request;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const KEYS: &str = "model messages max_tokens system tools tool_choice thinking output_config \
    context_management mcp_servers container metadata stream temperature top_p top_k \
    stop_sequences role content type text id name input input_schema tool_use_id is_error \
    budget_tokens display disable_parallel_tool_use format schema edits prompt raw suffix template \
    context images options num_predict seed stop mirostat think keep_alive logprobs top_logprobs \
    tool_calls function arguments parameters verbose";

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(KEYS.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let words = [
        "user",
        "assistant",
        "system",
        "tool",
        "text",
        "tool_use",
        "tool_result",
        "thinking",
        "auto",
        "any",
        "none",
        "enabled",
        "disabled",
        "adaptive",
        "json",
        "json_schema",
        "custom",
        "function",
        "high",
        "x-anthropic-billing-header: cch=é;",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// A request that is right, but for a few fields.
fn nearly_right() -> impl Strategy<Value = Value> {
    let base = json!({
        "model": "m", "max_tokens": 4,
        "messages": [{ "role": "user", "content": "a" }],
    });
    prop::collection::btree_map(key(), value(), 0..3).prop_map(move |more| {
        let mut body = base.clone();
        for (name, value) in more {
            body[name.as_str()] = value;
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        request(&body);
    }

    #[test]
    fn any_json(fields in prop::collection::btree_map(key(), value(), 0..8)) {
        let fields: Map<String, Value> = fields.into_iter().collect();
        request(Value::Object(fields).to_string().as_bytes());
    }

    #[test]
    fn requests_that_are_nearly_right(body in nearly_right()) {
        request(body.to_string().as_bytes());
    }
}

#[test]
fn large_bodies_take_no_time_beyond_their_length() {
    let many = |each: &str, count: usize| vec![each; count].join(",");
    let message = |content: &str| {
        format!(r#"{{"max_tokens":1,"messages":[{{"role":"user","content":{content}}}]}}"#)
    };
    let blocks = message(&format!(
        "[{}]",
        many(r#"{"type":"text","text":"a"}"#, 8000)
    ));
    let empty = message(&format!("[{}]", many("{}", 1 << 20)));
    let text = message(&format!("{:?}", "a ".repeat(1 << 20)));
    let keys: Vec<String> = (0..200_000).map(|i| format!("\"k{i}\":null")).collect();
    let keys = format!(r#"{{{},"max_tokens":"x"}}"#, keys.join(","));
    let messages = many(r#"{"role":"user","content":"a"}"#, 8000);
    let messages = format!(r#"{{"max_tokens":1,"messages":[{messages}]}}"#);
    for body in [blocks, empty, text, keys, messages] {
        let start = Instant::now();
        request(body.as_bytes());
        // Linear, it is a part of a second; quadratic, minutes.
        assert!(start.elapsed() < Duration::from_secs(30), "{}", &body[..60]);
    }
}
