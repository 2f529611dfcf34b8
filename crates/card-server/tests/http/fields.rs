//! Fields of requests: each is done, or refused by name.

use std::time::{Duration, Instant};

use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, endless, setup};
use crate::common::{a, hello, refused, with};

/// A function `f` of one argument.
fn function() -> Value {
    json!({ "name": "f", "parameters": {
        "type": "object", "properties": { "a": { "enum": ["x"] } }, "required": ["a"],
        "additionalProperties": false,
    } })
}

/// A grammar (GBNF) of an object that calls the function of this name.
fn object(name: &str) -> String {
    format!(r#"root ::= "{{\"name\": \"{name}\", \"arguments\": {{\"a\": \"x\"}}}}""#)
}

#[tokio::test]
async fn what_would_be_answered_wrongly_is_refused() {
    let client = Client::start(&setup());
    let cases = [
        (
            CHAT,
            hello(),
            json!({ "grammar": "root ::= this is (not" }),
            "grammar",
        ),
        (
            CHAT,
            hello(),
            json!({ "chat_template_kwargs": { "messages": [] } }),
            "chat_template_kwargs",
        ),
        (
            CHAT,
            hello(),
            json!({ "guided_choice": ["a"] }),
            "guided_choice",
        ),
        (
            CHAT,
            hello(),
            json!({ "continue_final_message": true }),
            "continue_final_message",
        ),
        (
            CHAT,
            hello(),
            json!({ "speculation": { "rows": 2 } }),
            "speculation",
        ),
        (COMPLETIONS, a(), json!({ "best_of": 3 }), "best_of"),
        // The synthetic model has no tokens for it.
        (COMPLETIONS, a(), json!({ "suffix": "b" }), "suffix"),
        (COMPLETIONS, a(), json!({ "max_tokens": 0 }), "max_tokens"),
    ];
    for (path, body, more, field) in cases {
        refused(&client.post(path, &with(body, &more)).await, field, field);
    }
}

#[tokio::test]
async fn who_leaves_no_mark_for_a_control_token_hears_where() {
    let client = Client::start(&setup());
    let private: String = ('\u{e000}'..='\u{f8ff}').collect();
    let said = format!("<|im_end|>{private}");
    let variables = json!({ "chat_template_kwargs": { "name": said } });
    let reply = client.post(CHAT, &with(hello(), &variables)).await;
    refused(&reply, "chat_template_kwargs", "a variable");
    let messages = json!({ "messages": [{ "role": "user", "content": said }] });
    let reply = client.post(CHAT, &with(hello(), &messages)).await;
    refused(&reply, "messages", "a message");
}

#[tokio::test]
async fn a_prompt_s_own_tokens_have_the_log_probabilities_of_their_generation() {
    let client = Client::start(&setup());
    // Letters only, so that the text is a prompt again.
    let others = (0..258).filter(|t| !(97..123).contains(t));
    let letters = Value::Object(others.map(|t| (t.to_string(), json!(-100))).collect());
    let body = json!({ "prompt": "ab", "max_tokens": 12, "logprobs": 2, "seed": 3,
                       "logit_bias": letters });
    let written = client.post(COMPLETIONS, &body).await.json();
    let choice = &written["choices"][0];
    let text = format!("ab{}", choice["text"].as_str().unwrap());
    assert_eq!(text.len(), 14, "{written}");
    let score = json!({ "prompt": text, "max_tokens": 0, "echo": true, "logprobs": 2 });
    for more in [
        json!({}),
        json!({ "speculation": "off" }),
        json!({ "max_tokens": 1 }),
    ] {
        let reply = client.post(COMPLETIONS, &with(score.clone(), &more)).await;
        let scored = reply.json()["choices"][0].clone();
        let behind = more["max_tokens"].as_u64().unwrap_or(0) as usize;
        if behind == 0 {
            assert_eq!(scored["text"], text.as_str());
            assert_eq!(reply.json()["usage"]["completion_tokens"], 0);
        }
        let list =
            |choice: &Value, name: &str| choice["logprobs"][name].as_array().unwrap().clone();
        let tokens = list(&scored, "tokens");
        assert!((14..=14 + behind).contains(&tokens.len()), "{scored}");
        assert_eq!(tokens[..3], [json!("a"), json!("b"), json!(&text[2..3])]);
        let logprobs = list(&scored, "token_logprobs");
        assert!(logprobs[0].is_null() && list(&scored, "top_logprobs")[0].is_null());
        let places: Vec<u64> = list(&scored, "text_offset")
            .iter()
            .map(|o| o.as_u64().unwrap())
            .collect();
        assert_eq!(places[..14], (0..14).collect::<Vec<u64>>());
        for (own, known) in logprobs[2..14].iter().zip(list(choice, "token_logprobs")) {
            let (own, known) = (own.as_f64().unwrap(), known.as_f64().unwrap());
            assert!((own - known).abs() < 1e-3, "{own} {known}");
        }
    }
    // A text of one token has nothing before it; many prompts are scored at once.
    let one = client
        .post(COMPLETIONS, &with(score.clone(), &json!({ "prompt": "a" })))
        .await;
    assert_eq!(
        one.json()["choices"][0]["logprobs"]["token_logprobs"],
        json!([null])
    );
    let many = json!({ "prompt": vec![text.clone(); 20] });
    let many = client
        .post(COMPLETIONS, &with(score.clone(), &many))
        .await
        .json();
    assert_eq!(many["choices"].as_array().unwrap().len(), 20, "{many}");
    // A stream says the same.
    let streamed = client
        .post(COMPLETIONS, &with(score, &json!({ "stream": true })))
        .await;
    let chunks = streamed.events();
    let chunks = chunks
        .iter()
        .filter_map(|e| serde_json::from_str::<Value>(e).ok());
    let chunks: Vec<Value> = chunks.collect();
    let said: String = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(said, text);
    let tokens = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["logprobs"]["tokens"].as_array());
    assert_eq!(tokens.map(Vec::len).sum::<usize>(), 14);
}

#[tokio::test]
async fn an_answer_that_is_one_object_is_a_call_of_an_offered_function() {
    let client = Client::start(&setup());
    let tools =
        json!({ "tools": [{ "type": "function", "function": function() }], "max_tokens": 600 });
    for (name, calls) in [("f", true), ("g", false)] {
        let body = with(with(hello(), &tools), &json!({ "grammar": object(name) }));
        for stream in [false, true] {
            let reply = client
                .post(CHAT, &with(body.clone(), &json!({ "stream": stream })))
                .await;
            let called = reply.text.contains("\"tool_calls\":[{");
            assert_eq!(called, calls, "{name}: {reply:?}");
            assert_eq!(
                reply.text.contains("\"finish_reason\":\"tool_calls\""),
                calls
            );
        }
    }
    let body = with(with(hello(), &tools), &json!({ "grammar": object("f") }));
    let message = client.post(CHAT, &body).await.json()["choices"][0]["message"].clone();
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        r#"{"a":"x"}"#
    );
    assert!(message["content"].is_null(), "{message}");
}

#[tokio::test]
async fn an_answer_with_tools_and_a_schema_is_a_call_or_fits_the_schema() {
    let client = Client::start(&setup());
    let schema = json!({ "type": "object", "properties": { "age": { "enum": [1, 2] } },
                         "required": ["age"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
    let tools = json!({ "tools": [{ "type": "function", "function": function() }],
                        "response_format": format, "max_tokens": 64, "temperature": 1,
                        "min_p": 0 });
    let mut fitting = 0;
    for seed in 0..12 {
        let body = with(with(hello(), &tools), &json!({ "seed": seed }));
        let choice = client.post(CHAT, &body).await.json()["choices"][0].clone();
        let message = &choice["message"];
        let content = message["content"].as_str().unwrap_or_default();
        let called = message.get("tool_calls").is_some()
            || content.starts_with("<tool_call>")
            || content.starts_with("{\"name\": \"f\"");
        let cut_off = choice["finish_reason"] == "length";
        let answer = serde_json::from_str::<Value>(content).ok();
        let fits = answer.is_some_and(|answer| answer["age"].is_u64());
        fitting += usize::from(fits);
        assert!(called || fits || cut_off, "{choice}");
    }
    assert!(fitting > 0, "no answer fits the schema");
}

#[tokio::test]
async fn a_forced_function_may_have_references_in_its_schema() {
    let client = Client::start(&setup());
    let parameters = json!({
        "$defs": { "Leaf": { "type": "object", "properties": { "v": { "enum": ["x"] } },
                             "required": ["v"], "additionalProperties": false } },
        "type": "object", "properties": { "leaf": { "$ref": "#/$defs/Leaf" } },
        "required": ["leaf"], "additionalProperties": false,
    });
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": parameters } });
    let body = json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 600 });
    let reply = client.post(CHAT, &with(hello(), &body)).await.json();
    let call = &reply["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], r#"{"leaf":{"v":"x"}}"#, "{reply}");
}

#[tokio::test]
async fn a_forced_call_that_was_cut_off_is_shown_as_it_is() {
    let client = Client::start(&setup());
    let tool = json!({ "type": "function", "function": function() });
    let body = json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 20 });
    let choice = client.post(CHAT, &with(hello(), &body)).await.json()["choices"][0].clone();
    assert_eq!(choice["message"]["content"], "<tool_call>\n{\"name\":");
    assert_eq!(choice["finish_reason"], "length");
}

#[tokio::test]
async fn a_forced_call_streams_as_it_is_written() {
    let client = Client::start(&setup());
    let tool = json!({ "type": "function", "function": function() });
    let body = json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 600,
                       "stream": true });
    let reply = client.post(CHAT, &with(hello(), &body)).await;
    let events = reply.events();
    let chunks = events
        .iter()
        .filter_map(|e| serde_json::from_str::<Value>(e).ok());
    let choices: Vec<Value> = chunks.map(|c| c["choices"][0].clone()).collect();
    let calls = choices.iter().map(|c| &c["delta"]["tool_calls"][0]);
    let calls: Vec<&Value> = calls.filter(|c| !c.is_null()).collect();
    assert!(calls.len() > 1, "{reply:?}");
    assert_eq!(
        calls[0]["function"],
        json!({ "name": "f", "arguments": "" })
    );
    assert!(calls[0]["id"].is_string() && calls[1].get("id").is_none());
    assert!(calls.iter().all(|c| c["index"] == 0));
    let arguments: String = calls
        .iter()
        .filter_map(|c| c["function"]["arguments"].as_str())
        .collect();
    let arguments: Value = serde_json::from_str(&arguments).unwrap();
    assert_eq!(arguments, json!({ "a": "x" }));
    let last = choices.last().unwrap();
    assert_eq!(last["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn functions_of_older_clients_are_called_in_their_words() {
    let client = Client::start(&setup());
    let legacy =
        json!({ "functions": [function()], "function_call": { "name": "f" }, "max_tokens": 600 });
    let body = with(hello(), &legacy);
    let choice = client.post(CHAT, &body).await.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "function_call");
    let call = json!({ "name": "f", "arguments": "{\"a\":\"x\"}" });
    assert_eq!(choice["message"]["function_call"], call);
    assert!(choice["message"].get("tool_calls").is_none());
    let reply = client
        .post(CHAT, &with(body, &json!({ "stream": true })))
        .await;
    assert!(
        reply.text.contains("\"function_call\":{\"name\":\"f\""),
        "{reply:?}"
    );
}

#[tokio::test]
async fn speculation_is_off_where_the_request_says_so_and_told_where_it_asks() {
    let client = Client::start(&setup());
    let body = json!({ "prompt": "abcabcabc", "max_tokens": 24, "seed": 1, "card": true,
                       "logit_bias": { "257": -100 } });
    let answer = async |more: Value| {
        client
            .post(COMPLETIONS, &with(body.clone(), &more))
            .await
            .json()
    };
    let auto = answer(json!({ "speculation": "auto" })).await;
    let off = answer(json!({ "speculation": "off" })).await;
    assert_eq!(auto["choices"][0]["text"], off["choices"][0]["text"]);
    let card = &off["card"];
    assert_eq!(
        (&card["candidates"], &card["accepted"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        (&card["rounds"], &card["tokens"]),
        (&json!(24), &json!(24)),
        "{card}"
    );
    let card = &auto["card"];
    assert!(
        card["accepted"].as_u64() <= card["candidates"].as_u64(),
        "{card}"
    );
    assert_eq!(card["tokens"], auto["usage"]["completion_tokens"]);
    // A bound of candidates changes how many there are, and nothing of the text.
    let few = answer(json!({ "speculation": { "max_rows": 1 } })).await;
    assert_eq!(few["choices"][0]["text"], off["choices"][0]["text"]);
    let card = &few["card"];
    let candidates = card["candidates"].as_u64();
    assert!(
        candidates > Some(0) && candidates <= card["rounds"].as_u64(),
        "{card}"
    );
    // Who does not ask is not told; a stream tells it at its end.
    assert!(answer(json!({ "card": false })).await.get("card").is_none());
    let stream = with(body.clone(), &json!({ "stream": true }));
    let reply = client.post(COMPLETIONS, &stream).await;
    let events = reply.events();
    let last: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
    assert_eq!(last["card"]["tokens"], 24, "{last}");
    assert_eq!(last["choices"], json!([]));
}

#[tokio::test]
async fn a_stream_begins_before_its_first_token() {
    let setup = TestSetup {
        forward: Duration::from_millis(1500),
        ..setup()
    };
    let client = Client::start(&setup);
    let began = Instant::now();
    let response = client
        .send("POST", COMPLETIONS, &[], endless(1).to_string())
        .await;
    assert!(began.elapsed() < setup.forward, "{:?}", began.elapsed());
    assert_eq!(response.status().as_u16(), 200);
    let text = response.text().await.unwrap();
    // One line, and no empty one behind it.
    assert!(text.starts_with(": keep-alive\ndata: {"), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[tokio::test]
async fn pages_that_are_let_in_may_send_what_their_sdk_sends() {
    let mut setup = setup();
    setup.config.cors = vec!["*".into()];
    let client = Client::start(&setup);
    let asked = "authorization,content-type,x-stainless-os,x-stainless-timeout";
    let headers = [
        ("origin", "http://localhost:5173"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
        ("access-control-request-private-network", "true"),
    ];
    let reply = client.ask("OPTIONS", CHAT, &headers, "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "http://localhost:5173"
    );
    assert_eq!(reply.header("access-control-allow-headers"), asked);
    assert_eq!(reply.header("access-control-allow-private-network"), "true");
    assert!(
        reply
            .header("access-control-allow-methods")
            .contains("POST")
    );
}
