//! Streams: what they say, how they fail, and that they end once.

use std::time::{Duration, Instant};

use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, endless, setup};
use crate::common::{a, hello, with};

#[tokio::test]
async fn errors_before_the_first_token_keep_their_status() {
    let client = Client::start(&setup());
    let cases = [
        json!({ "temperature": -1 }),
        json!({ "prompt": "x".repeat(5000) }),
        json!({ "prompt": "" }),
        json!({ "prompt": [99_999_999] }),
        json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": { "type": "nonsense" } } } }),
    ];
    for more in cases {
        let reply = client
            .post(
                COMPLETIONS,
                &with(with(a(), &json!({ "stream": true })), &more),
            )
            .await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(
            reply.header("content-type").starts_with("application/json"),
            "{reply:?}"
        );
        reply.error();
    }
    // A time-out that passes before there is a token.
    let mut slow = TestSetup {
        forward: Duration::from_millis(300),
        ..setup()
    };
    slow.config.request_timeout = Duration::from_millis(100);
    let client = Client::start(&slow);
    for n in [1, 3] {
        let reply = client
            .post(COMPLETIONS, &with(endless(10), &json!({ "n": n })))
            .await;
        assert_eq!(reply.status, 504, "{reply:?}");
        reply.error();
    }
}

#[tokio::test]
async fn a_stream_ends_once_whatever_becomes_of_its_choices() {
    // One at a time, so that some choices fail in the middle and others before they began.
    let mut setup = TestSetup {
        parallel: 1,
        forward: Duration::from_millis(2),
        ..setup()
    };
    setup.config.request_timeout = Duration::from_secs(1);
    let client = Client::start(&setup);
    for more in [
        json!({ "n": 3 }),
        json!({ "n": 3, "stream_options": { "include_usage": true } }),
    ] {
        let reply = client.post(COMPLETIONS, &with(endless(4000), &more)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let events = reply.events();
        let errors = events
            .iter()
            .filter(|e| e.starts_with("{\"error\""))
            .count();
        let ends = events.iter().filter(|e| **e == "[DONE]").count();
        assert_eq!(
            (errors, ends),
            (1, 1),
            "{:?}",
            &events[events.len().saturating_sub(8)..]
        );
        assert_eq!(events.last(), Some(&"[DONE]"));
        client.serves().await;
    }
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says_and_ends_once() {
    let client = Client::start(&setup());
    let tool = json!({ "type": "function", "function": { "name": "f" } });
    let options = [
        json!({}),
        json!({ "n": 3 }),
        json!({ "logprobs": true, "top_logprobs": 2 }),
        json!({ "stop": ["a", "b"] }),
        json!({ "tools": [tool], "tool_choice": "none" }),
        json!({ "stream_options": { "include_usage": true }, "n": 2 }),
        json!({ "max_tokens": 1 }),
    ];
    for more in options {
        let base = json!({ "seed": 5, "temperature": 1, "max_tokens": 12 });
        let body = with(with(hello(), &base), &more);
        let whole = client.post(CHAT, &body).await.json();
        let reply = client
            .post(CHAT, &with(body, &json!({ "stream": true })))
            .await;
        let events = reply.events();
        assert_eq!(
            events.iter().filter(|e| **e == "[DONE]").count(),
            1,
            "{more}"
        );
        assert_eq!(events.last(), Some(&"[DONE]"), "{more}");
        let chunks: Vec<Value> = events[..events.len() - 1]
            .iter()
            .map(|e| serde_json::from_str(e).unwrap())
            .collect();
        for choice in whole["choices"].as_array().unwrap() {
            let mine: Vec<&Value> = chunks
                .iter()
                .filter_map(|c| c["choices"].get(0))
                .filter(|c| c["index"] == choice["index"])
                .collect();
            let text: String = mine
                .iter()
                .filter_map(|c| c["delta"]["content"].as_str())
                .collect();
            let wanted = choice["message"]["content"].as_str().unwrap_or_default();
            assert_eq!(text, wanted, "{more}");
            let reasons: Vec<&Value> = mine
                .iter()
                .map(|c| &c["finish_reason"])
                .filter(|r| !r.is_null())
                .collect();
            assert_eq!(reasons, [&choice["finish_reason"]], "{more}");
        }
        let usage: Vec<&Value> = chunks
            .iter()
            .map(|c| &c["usage"])
            .filter(|u| !u.is_null())
            .collect();
        match more.get("stream_options") {
            Some(_) => {
                assert_eq!(usage.len(), 1, "{more}");
                assert_eq!(
                    usage[0]["completion_tokens"],
                    whole["usage"]["completion_tokens"]
                );
            }
            None => assert!(usage.is_empty(), "{more}"),
        }
    }
}

#[tokio::test]
async fn every_stream_begins_with_a_comment_before_there_is_a_token() {
    let slow = TestSetup {
        forward: Duration::from_millis(1500),
        ..setup()
    };
    let client = Client::start(&slow);
    let message = json!({ "messages": [{ "role": "user", "content": "a" }], "max_tokens": 4 });
    let cases = [
        (CHAT, message.clone()),
        (COMPLETIONS, a()),
        ("/v1/responses", json!({ "input": "a" })),
        ("/v1/messages", with(message, &json!({ "model": "any" }))),
        ("/completion", json!({ "prompt": "a", "n_predict": 4 })),
    ];
    for (path, body) in cases {
        let body = with(body, &json!({ "stream": true }));
        let began = Instant::now();
        let mut response = client.send("POST", path, &[], body.to_string()).await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        let first = response.chunk().await.unwrap().unwrap();
        assert!(
            began.elapsed() < slow.forward,
            "{path}: {:?}",
            began.elapsed()
        );
        assert!(first.starts_with(b": keep-alive\n"), "{path}: {first:?}");
    }
}

#[tokio::test]
async fn a_call_comes_while_it_is_written() {
    let client = Client::start(&TestSetup {
        forward: Duration::from_millis(40),
        ..setup()
    });
    let text = json!({ "type": "string", "minLength": 300, "maxLength": 320 });
    let schema = json!({ "type": "object", "properties": { "text": text }, "required": ["text"] });
    let tool = json!({ "type": "function", "function": { "name": "write", "parameters": schema } });
    let more = json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 1500,
                       "stream": true });
    let body = with(hello(), &more).to_string();
    let mut response = client.send("POST", CHAT, &[], body).await;
    let mut came = Vec::new();
    // Its name, and the first pieces of its arguments.
    let piece = b"\"tool_calls\":[";
    let pieces = |came: &[u8]| came.windows(piece.len()).filter(|w| *w == piece).count();
    while pieces(&came) < 3 {
        let more = response.chunk().await.unwrap();
        came.extend_from_slice(&more.expect("the stream ended without a call"));
    }
    let health = client.get("/health").await.json();
    assert_eq!(health["running"], 1, "the call came when it was whole");
}
