//! Anthropic's API, as its clients speak it.

use std::time::Duration;

use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{Client, Reply, setup};
use crate::common::{ANNA, two_keys, with};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

/// A short conversation, always the same.
fn hello() -> Value {
    json!({
        "model": "m",
        "max_tokens": 12,
        "temperature": 0,
        "messages": [{ "role": "user", "content": "hello" }],
    })
}

fn weather() -> Value {
    let properties = json!({ "city": { "enum": ["Rome"] } });
    json!({
        "name": "weather",
        "input_schema": {
            "type": "object", "properties": properties, "required": ["city"],
            "additionalProperties": false,
        },
    })
}

/// The kind of an error and its message. Checks that it has the form that Anthropic's clients
/// expect.
fn error(reply: &Reply) -> (String, String) {
    let body = reply.json();
    assert_eq!(body["type"], "error", "{reply:?}");
    let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
    let (kind, message) = (text("type"), text("message"));
    assert!(!kind.is_empty() && !message.is_empty(), "{reply:?}");
    assert!(reply.header("request-id").starts_with("req_"), "{reply:?}");
    assert_eq!(body["request_id"], reply.header("request-id"));
    (kind, message)
}

/// The events of a stream. Checks that each is named by its type.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(
        reply
            .header("content-type")
            .starts_with("text/event-stream")
    );
    let blocks = reply
        .text
        .split("\n\n")
        .filter(|block| !block.trim().is_empty());
    let event = |block: &str| {
        let line = |name: &str| {
            let mut lines = block.lines().filter_map(|line| line.strip_prefix(name));
            lines
                .next()
                .unwrap_or_else(|| panic!("{name} {block:?}"))
                .trim()
                .to_owned()
        };
        let data: Value = serde_json::from_str(&line("data:")).unwrap();
        assert_eq!(data["type"], line("event:"));
        data
    };
    blocks.map(event).collect()
}

/// The message that the events of a stream tell, put together as clients do.
fn told(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    for event in &events[1..] {
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(blocks.len(), index);
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][index], &event["delta"]);
                if let Some(more) = delta["text"].as_str() {
                    let text = block["text"].as_str().unwrap().to_owned();
                    block["text"] = (text + more).into();
                }
                if let Some(json) = delta["partial_json"].as_str() {
                    let begun = block["partial"].as_str().unwrap_or_default().to_owned();
                    block["partial"] = (begun + json).into();
                }
            }
            "content_block_stop" => {
                let block = message["content"][index].as_object_mut().unwrap();
                if let Some(Value::String(json)) = block.remove("partial") {
                    let input = serde_json::from_str(&json).unwrap();
                    block.insert("input".to_owned(), input);
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

#[tokio::test]
async fn an_answer_is_a_message() {
    let client = Client::start(&setup());
    let reply = client.post(MESSAGES, &hello()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.header("request-id").starts_with("req_"));
    let message = reply.json();
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&message["type"], &message["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert_eq!(message["model"], "synthetic");
    let blocks = message["content"].as_array().unwrap();
    assert!(
        blocks.iter().all(|block| block["type"] == "text"),
        "{message}"
    );
    let reason = message["stop_reason"].as_str().unwrap();
    assert!(["end_turn", "max_tokens"].contains(&reason), "{message}");
    assert_eq!(message["stop_sequence"], Value::Null);
    let usage = &message["usage"];
    assert!(usage["input_tokens"].as_u64().unwrap() > 0);
    assert!(usage["output_tokens"].as_u64().unwrap() <= 12);
    // The header that Anthropic's clients send, and a version that nobody knows.
    for (version, status) in [
        ("2023-06-01", 200),
        ("2023-01-01", 200),
        ("1999-01-01", 400),
    ] {
        let headers = [
            ("anthropic-version", version),
            ("anthropic-beta", "x-2025-01-01"),
        ];
        let reply = client
            .ask("POST", MESSAGES, &headers, hello().to_string())
            .await;
        assert_eq!(reply.status, status, "{version}: {reply:?}");
    }
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says_and_ends_once() {
    let client = Client::start(&setup());
    let forced =
        json!({ "tools": [weather()], "tool_choice": { "type": "any" }, "max_tokens": 1000 });
    for more in [
        json!({}),
        json!({ "max_tokens": 1 }),
        forced,
        json!({ "stop_sequences": ["e"] }),
    ] {
        let body = with(hello(), &more);
        let whole = client.post(MESSAGES, &body).await.json();
        let reply = client
            .post(MESSAGES, &with(body, &json!({ "stream": true })))
            .await;
        let events = events(&reply);
        let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
        assert_eq!(&kinds[..2], ["message_start", "ping"], "{more}");
        assert_eq!(
            &kinds[kinds.len() - 2..],
            ["message_delta", "message_stop"],
            "{more}"
        );
        let count = |kind: &str| kinds.iter().filter(|k| **k == kind).count();
        assert_eq!(
            count("content_block_start"),
            count("content_block_stop"),
            "{more}"
        );
        assert_eq!(count("message_stop"), 1, "{more}");
        assert_eq!(events[0]["message"]["content"], json!([]));
        assert_eq!(events[0]["message"]["stop_reason"], Value::Null);
        let streamed = told(&events);
        for field in ["stop_reason", "stop_sequence"] {
            assert_eq!(streamed[field], whole[field], "{more}");
        }
        assert_eq!(
            streamed["usage"]["output_tokens"], whole["usage"]["output_tokens"],
            "{more}"
        );
        let said = |message: &Value| {
            let mut blocks = message["content"].clone();
            for block in blocks.as_array_mut().unwrap() {
                // The name of a call is another one in each request.
                block.as_object_mut().unwrap().remove("id");
            }
            blocks
        };
        assert_eq!(said(&streamed), said(&whole), "{more}");
    }
}

#[tokio::test]
async fn a_forced_tool_is_called() {
    let client = Client::start(&setup());
    for choice in [
        json!({ "type": "any" }),
        json!({ "type": "tool", "name": "weather" }),
    ] {
        let tools = json!({ "tools": [weather()], "tool_choice": choice, "max_tokens": 1000 });
        let message = client.post(MESSAGES, &with(hello(), &tools)).await.json();
        assert_eq!(message["stop_reason"], "tool_use", "{message}");
        let call = &message["content"][0];
        assert!(call["id"].as_str().unwrap().starts_with("toolu_"));
        assert_eq!(
            (&call["type"], &call["name"]),
            (&json!("tool_use"), &json!("weather"))
        );
        assert_eq!(call["input"], json!({ "city": "Rome" }));
        // The answer is taken back with the result.
        let result = json!([{
            "type": "tool_result", "tool_use_id": call["id"], "is_error": true,
            "content": [{ "type": "text", "text": "no such city" }],
        }]);
        let messages = json!([
            { "role": "user", "content": "hello" },
            { "role": "assistant", "content": message["content"] },
            { "role": "user", "content": result },
        ]);
        let more = json!({ "tools": [weather()], "messages": messages });
        let reply = client.post(MESSAGES, &with(hello(), &more)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[tokio::test]
async fn the_stop_sequence_that_ended_it_is_told() {
    let client = Client::start(&setup());
    let mut tried = 0;
    // A conversation in whose answer a whole character is written.
    let (body, text, stop) = loop {
        let message = json!({ "role": "user", "content": format!("hello {tried}") });
        let body = with(hello(), &json!({ "max_tokens": 40, "messages": [message] }));
        let whole = client.post(MESSAGES, &body).await.json();
        let text = whole["content"][0]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if let Some(stop) = text.chars().find(|c| *c != '\u{fffd}') {
            break (body, text, stop.to_string());
        }
        tried += 1;
        assert!(tried < 100, "no answer says anything");
    };
    let never = ('a'..='z')
        .find(|c| !text.contains(*c))
        .unwrap()
        .to_string();
    let more = json!({ "stop_sequences": [never, stop] });
    let stopped = client.post(MESSAGES, &with(body, &more)).await.json();
    assert_eq!(stopped["stop_reason"], "stop_sequence", "{stopped}");
    assert_eq!(stopped["stop_sequence"], stop.as_str());
}

#[tokio::test]
async fn tokens_are_counted_as_they_are_used() {
    let client = Client::start(&setup());
    let thinking = json!({ "thinking": { "type": "disabled" } });
    let counts = [
        json!({}),
        json!({ "system": "Be brief." }),
        json!({ "tools": [weather()] }),
        thinking,
    ];
    let mut all = Vec::new();
    for more in counts {
        let body = with(hello(), &more);
        let used = client.post(MESSAGES, &body).await.json()["usage"].clone();
        let used = used["input_tokens"].as_u64().unwrap()
            + used["cache_read_input_tokens"].as_u64().unwrap();
        let mut asked = body.clone();
        asked.as_object_mut().unwrap().remove("max_tokens");
        let counted = client.post(COUNT, &asked).await;
        assert_eq!(counted.json(), json!({ "input_tokens": used }), "{more}");
        assert!(counted.header("request-id").starts_with("req_"));
        all.push(used);
    }
    // Each of them adds something: thoughts that are over, where thinking is off.
    assert!(all[1..].iter().all(|count| *count > all[0]), "{all:?}");
}

/// What Claude Code 2.1.332 sends for a question, its texts cut short.
fn of_claude_code() -> Value {
    let kept = json!({ "type": "ephemeral" });
    json!({
        "model": "m",
        "max_tokens": 32,
        "messages": [
            { "role": "user", "content": [
                { "type": "text", "text": "<system-reminder>The date.</system-reminder>" },
                { "type": "text", "text": "Say hi.", "cache_control": kept },
            ] },
            { "role": "system", "content": "Agents may be started." },
        ],
        "system": [
            { "type": "text",
              "text": "x-anthropic-billing-header: cc_version=2.1.197.123; cc_entrypoint=sdk-cli;" },
            { "type": "text", "text": "You are an agent.", "cache_control": kept },
        ],
        "tools": [{
            "name": "TaskUpdate",
            "description": "Updates a task.",
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "taskId": { "type": "string", "minLength": 1, "maxLength": 65536 },
                    "metadata": { "type": "object", "propertyNames": { "type": "string" },
                                  "additionalProperties": {} },
                    "delaySeconds": { "type": "integer", "exclusiveMinimum": 0,
                                      "maximum": 9_007_199_254_740_991_u64 },
                    "url": { "type": "string", "format": "uri" },
                },
                "required": ["taskId"],
                "additionalProperties": false,
            },
        }],
        "metadata": { "user_id": "{\"device_id\":\"b05c\"}" },
        "thinking": { "type": "adaptive" },
        "context_management": { "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] },
        "output_config": { "effort": "high" },
        "stream": true,
    })
}

#[tokio::test]
async fn what_claude_code_sends_is_answered() {
    let client = Client::start(&two_keys());
    let headers = [
        ("authorization", ANNA),
        ("anthropic-version", "2023-06-01"),
        (
            "anthropic-beta",
            "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
        ),
    ];
    let path = format!("{MESSAGES}?beta=true");
    let body = of_claude_code();
    let reply = client.ask("POST", &path, &headers, body.to_string()).await;
    let message = told(&events(&reply));
    assert!(message["stop_reason"].is_string(), "{message}");
    let counted = json!({ "messages": body["messages"], "system": body["system"],
                          "tools": body["tools"], "model": "m" });
    let path = format!("{COUNT}?beta=true");
    let counted = client
        .ask("POST", &path, &headers, counted.to_string())
        .await;
    assert_eq!(counted.status, 200, "{counted:?}");
    let read = |usage: &Value| {
        let part = |name: &str| usage[name].as_u64().unwrap_or_default();
        part("input_tokens") + part("cache_read_input_tokens")
    };
    assert_eq!(read(&message["usage"]), read(&counted.json()));
}

#[tokio::test]
async fn a_line_that_changes_with_every_request_does_not_defeat_the_cache() {
    let client = Client::start(&setup());
    let ask = async |sum: &str| {
        let line = format!(
            "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch={sum};"
        );
        let system = json!([
            { "type": "text", "text": line },
            { "type": "text", "text": "You are a careful engineer. ".repeat(8) },
        ]);
        let reply = client
            .post(MESSAGES, &with(hello(), &json!({ "system": system })))
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let usage = reply.json()["usage"].clone();
        let count = |name: &str| usage[name].as_u64().unwrap();
        (count("cache_read_input_tokens"), count("input_tokens"))
    };
    let (cached, whole) = ask("a5145").await;
    assert_eq!(cached, 0);
    let (cached, rest) = ask("fa690").await;
    assert_eq!(cached + rest, whole);
    assert!(cached > whole / 2, "{cached} of {whole}");
}

#[tokio::test]
async fn errors_have_anthropic_s_form_wherever_they_come_from() {
    let client = Client::start(&two_keys());
    let key = [("x-api-key", "secret-of-anna")];
    let post = async |body: &Value| client.ask("POST", MESSAGES, &key, body.to_string()).await;
    let wrong = [
        (json!({ "max_tokens": null }), "max_tokens"),
        (json!({ "unheard_of": true }), "unheard_of"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image", "source": {} }] }] }),
            "messages[0].content[0].type",
        ),
        (json!({ "mcp_servers": [{ "url": "u" }] }), "mcp_servers"),
        (
            json!({ "messages": [{ "role": "user", "content": "x".repeat(9999) }] }),
            "messages",
        ),
    ];
    for (more, field) in wrong {
        let reply = post(&with(hello(), &more)).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        let (kind, message) = error(&reply);
        assert_eq!(kind, "invalid_request_error");
        assert!(message.starts_with(field), "{message}");
    }
    // What is refused before a path is looked at.
    let reply = client.post(MESSAGES, &hello()).await;
    assert_eq!(
        (reply.status, error(&reply).0.as_str()),
        (401, "authentication_error")
    );
    assert_eq!(reply.header("www-authenticate"), "Bearer");
    let reply = client.ask("GET", MESSAGES, &key, "").await;
    assert_eq!(
        (reply.status, error(&reply).0.as_str()),
        (405, "invalid_request_error")
    );
    assert_eq!(reply.header("allow"), "POST");
    let reply = client.ask("POST", "/v1/messages/batches", &key, "{}").await;
    assert_eq!(
        (reply.status, error(&reply).0.as_str()),
        (404, "not_found_error")
    );
    let reply = client.post_as(ANNA, MESSAGES, &hello()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    // Elsewhere they are OpenAI's.
    client
        .ask("POST", "/v1/completions", &key, "{")
        .await
        .error();
}

#[tokio::test]
async fn a_failure_before_the_first_token_keeps_its_status() {
    let mut slow = TestSetup {
        forward: Duration::from_millis(300),
        ..setup()
    };
    slow.config.request_timeout = Duration::from_millis(100);
    let client = Client::start(&slow);
    let body = with(hello(), &json!({ "stream": true }));
    let reply = client.post(MESSAGES, &body).await;
    assert_eq!(
        (reply.status, error(&reply).0.as_str()),
        (504, "timeout_error")
    );
}

#[tokio::test]
async fn what_was_written_stands_in_the_document() {
    let client = Client::start(&setup());
    let document = client.get("/openapi.json").await.json();
    for path in [MESSAGES, COUNT] {
        assert!(document["paths"][path]["post"].is_object(), "{path}");
        let example = &document["paths"][path]["post"]["requestBody"]["content"];
        let reply = client
            .post(path, &example["application/json"]["example"])
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let message = client.post(MESSAGES, &hello()).await.json();
    let schema = &document["components"]["schemas"]["MessageAnswer"];
    for field in schema["properties"].as_object().unwrap().keys() {
        assert!(message.get(field).is_some(), "{field} of {message}");
    }
}
