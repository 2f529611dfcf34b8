//! Whatever comes in: a job, or an error in OpenAI's shape; never a panic.

#![allow(clippy::unwrap_used)]

mod invariants;

use invariants::request;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn value() -> impl Strategy<Value = Value> {
    let words = [
        "auto",
        "required",
        "none",
        "text",
        "function",
        "json_schema",
        "user",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::collection::vec(any::<char>(), 0..12)
            .prop_map(|c| Value::from(c.into_iter().collect::<String>())),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

const KEYS: &str = "model messages prompt role content temperature top_p top_k n seed stop stream \
    stream_options include_usage max_tokens logprobs top_logprobs logit_bias tools tool_choice type \
    function name parameters arguments tool_calls response_format json_schema schema prediction \
    echo text frequency_penalty content tokens 0 -1 input instructions suffix speculation card \
    functions function_call format include reasoning store call_id output id best_of grammar \
    structured_outputs json parallel_tool_calls n_predict prompt_string input_prefix input_suffix \
    input_extra filename samplers response_fields n_probs ignore_eos repeat_last_n \
    chat_template_kwargs add_generation_prompt reasoning_effort timings_per_token return_progress \
    thinking_budget_tokens reasoning_budget_tokens";

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(KEYS.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

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
    fn a_good_request_with_one_odd_field(key in key(), odd in value()) {
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }], "prompt": "hi" });
        body[key] = odd;
        request(body.to_string().as_bytes());
    }

    #[test]
    fn a_good_request_that_is_cut_or_changed(at in 0usize..120, byte in any::<u8>(), cut: bool) {
        let body = json!({
            "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hé" }] }],
            "tools": [{ "type": "function", "function": { "name": "f" } }], "stop": ["a"] });
        let mut body = body.to_string().into_bytes();
        let at = at.min(body.len() - 1);
        match cut {
            true => body.truncate(at),
            false => body[at] = byte,
        }
        request(&body);
    }
}
