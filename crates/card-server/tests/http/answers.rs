//! The form of answers and errors, and what the document says of them.

use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, setup};
use crate::common::{hello, refused, with};

#[tokio::test]
async fn errors_have_a_form_and_tell_no_secrets() {
    let client = Client::start(&setup());
    let schema = json!({ "type": "object", "properties": { "a": { "type": "nonsense" } } });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": schema } });
    let cases = [
        (
            "POST",
            CHAT,
            with(hello(), &json!({ "response_format": format })).to_string(),
            400,
        ),
        (
            "POST",
            CHAT,
            with(hello(), &json!({ "tool_choice": "x".repeat(1 << 20) })).to_string(),
            400,
        ),
        (
            "POST",
            CHAT,
            with(
                hello(),
                &json!({ "messages": [{ "role": "r".repeat(1 << 20) }] }),
            )
            .to_string(),
            400,
        ),
        ("POST", CHAT, "[".repeat(1 << 20), 400),
        ("POST", CHAT, "{\"a\":".repeat(100_000), 400),
        (
            "POST",
            COMPLETIONS,
            json!({ "prompt": "x".repeat(5000) }).to_string(),
            400,
        ),
        (
            "POST",
            COMPLETIONS,
            json!({ "prompt": "x".repeat(1 << 20) }).to_string(),
            400,
        ),
        ("POST", "/tokenize", "{}".into(), 400),
        ("POST", "/tokenize", "[]".into(), 400),
        ("POST", "/detokenize", "{\"tokens\":5}".into(), 400),
        ("GET", CHAT, String::new(), 405),
        ("PUT", "/health", String::new(), 405),
        ("GET", "/nothing", String::new(), 404),
        ("GET", "/v1/models/gpt-4", String::new(), 404),
        ("GET", "/v1/models/%ff", String::new(), 400),
    ];
    for (method, path, body, status) in cases {
        let reply = client.ask(method, path, &[], body).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        assert!(
            reply.text.len() <= 4096,
            "{method} {path}: {} bytes",
            reply.text.len()
        );
        let (_, message) = reply.error();
        for inner in ["panicked", "src/", "JoinError"] {
            assert!(!message.contains(inner), "{method} {path}: {message}");
        }
    }
    let long = client
        .post(COMPLETIONS, &json!({ "prompt": "x".repeat(5000) }))
        .await;
    assert_eq!(long.json()["error"]["code"], "context_length_exceeded");
}

#[tokio::test]
async fn an_answer_ends_before_its_stop_text_and_usage_counts_what_was_written() {
    let client = Client::start(&setup());
    let asked = async |grammar: &str, more: Value| {
        let body = json!({ "prompt": "abc", "grammar": grammar, "max_tokens": 40 });
        let answer = client.post(COMPLETIONS, &with(body, &more)).await.json();
        let choice = answer["choices"][0].clone();
        (choice, answer["usage"].clone())
    };
    for speculation in ["auto", "off"] {
        let more = json!({ "stop": ["de"], "speculation": speculation });
        let (choice, usage) = asked("root ::= \"abcdefgh\"", more).await;
        assert_eq!(
            (&choice["text"], &choice["finish_reason"]),
            (&json!("abc"), &json!("stop"))
        );
        // Each byte is a token; those behind the stop text do not count.
        assert_eq!(usage["completion_tokens"], 5, "{speculation}");
        let own = json!({ "speculation": speculation });
        let (choice, usage) = asked("root ::= \"abcd\"", own).await;
        assert_eq!(choice["finish_reason"], "stop");
        // The token that ends the text does not count.
        assert_eq!(usage["completion_tokens"], 4, "{speculation}");
        assert_eq!(usage["prompt_tokens"], 3);
    }
    let (choice, usage) = asked("root ::= \"abcd\"", json!({ "max_tokens": 2, "n": 3 })).await;
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(3), &json!(6))
    );
    // Thoughts end with it, too.
    let more = json!({ "grammar": "root ::= \"<think>abcd</think>ef\"", "stop": ["cd"],
                       "max_tokens": 60 });
    let answer = client.post(CHAT, &with(hello(), &more)).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["reasoning_content"], "ab", "{answer}");
    assert_eq!(choice["finish_reason"], "stop");
    let content = choice["message"]["content"].as_str();
    assert_eq!(content.unwrap_or_default(), "", "{answer}");
}

#[tokio::test]
async fn thoughts_that_are_not_wanted_are_not_sent_and_still_count() {
    let client = Client::start(&setup());
    let more = json!({ "grammar": "root ::= \"<think>abcd</think>ef\"", "max_tokens": 60 });
    let body = with(hello(), &more);
    let shown = client.post(CHAT, &body).await.json();
    let message = &shown["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "abcd", "{shown}");
    for words in [
        json!({ "reasoning_format": "hidden" }),
        json!({ "include_reasoning": false }),
        json!({ "reasoning": { "exclude": true } }),
    ] {
        let body = with(body.clone(), &words);
        let hidden = client.post(CHAT, &body).await.json();
        let message = &hidden["choices"][0]["message"];
        assert_eq!(message["content"], "ef", "{words}: {hidden}");
        assert!(message.get("reasoning_content").is_none(), "{hidden}");
        assert_eq!(
            hidden["usage"]["completion_tokens"],
            shown["usage"]["completion_tokens"]
        );
        let usage = json!({ "stream": true, "stream_options": { "include_usage": true } });
        let stream = client.post(CHAT, &with(body.clone(), &usage)).await;
        assert!(!stream.text.contains("abcd"), "{words}: {stream:?}");
        assert!(!stream.text.contains("reasoning_content"), "{stream:?}");
        assert!(stream.text.contains("\"content\":\""), "{stream:?}");
        let reply = client
            .post(CHAT, &with(body, &json!({ "logprobs": true })))
            .await;
        refused(&reply, "logprobs", "tokens of thoughts");
    }
}

#[tokio::test]
async fn no_answer_is_taken_for_something_else() {
    let client = Client::start(&setup());
    let replies = [
        client.get("/health").await,
        client.get("/").await,
        client.get("/v1/models").await,
        client.get("/metrics").await,
        client.get("/openapi.json").await,
        client.get("/nothing").await,
        client.get(CHAT).await,
        client.post(CHAT, &hello()).await,
        client
            .post(CHAT, &with(hello(), &json!({ "stream": true })))
            .await,
        client.ask("POST", CHAT, &[], "{").await,
        client
            .ask("POST", CHAT, &[("origin", "https://evil.example")], "{")
            .await,
    ];
    for reply in &replies {
        assert_eq!(
            reply.header("x-content-type-options"),
            "nosniff",
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn health_and_the_page_say_how_close_the_text_is_to_plain_decodings() {
    let client = Client::start(&setup());
    let document = client.get("/openapi.json").await.json();
    let health = client.get("/health").await.json();
    for (name, told) in [("Health", &health), ("Exactness", &health["exactness"])] {
        let schema = &document["components"]["schemas"][name];
        let fields = schema["properties"].as_object().unwrap();
        for field in fields.keys() {
            assert!(told.get(field).is_some(), "{field} of {name}: {told}");
        }
    }
    let exactness = &health["exactness"];
    assert_eq!(exactness["level"], "exact");
    assert_eq!(exactness["means"], "any-shape");
    let words = exactness["words"].as_str().unwrap();
    assert!(
        words.contains(exactness["kernels"].as_str().unwrap()),
        "{words}"
    );
    assert!(client.get("/").await.text.contains("id=\"exactness\""));
}

#[tokio::test]
async fn the_document_names_paths_that_answer() {
    let client = Client::start(&setup());
    let document = client.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        CHAT,
        COMPLETIONS,
        "/v1/responses",
        "/v1/models",
        "/tokenize",
        "/detokenize",
        "/health",
    ] {
        assert!(paths.contains_key(path), "{path} is not in the document");
    }
    for (path, methods) in paths {
        // It never ends; or it is that of an answer, and none is kept.
        if path == "/live" || path.contains("{id}") {
            continue;
        }
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            if ["GET", "POST"].contains(&method.as_str()) {
                let path = path
                    .replace("{name}", "synthetic")
                    .replace("{model}", "synthetic");
                let reply = client.ask(&method, &path, &[], "{}").await;
                // 501: vectors are for a server whose model makes them.
                assert!(
                    matches!(reply.status, 200 | 400 | 501),
                    "{method} {path}: {reply:?}"
                );
            }
        }
    }
}
