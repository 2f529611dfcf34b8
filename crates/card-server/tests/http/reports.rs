//! Small inputs of what people report of servers like this one. Each stands for a kind; others of
//! these kinds have tests beside what they are about.

use std::time::Duration;

use card_server::testing::TestSetup;
use serde_json::{Value, json};

use crate::client::{CHAT, COMPLETIONS, Client, Reply, endless, request, setup};
use crate::common::{hello, refused, with};

/// The text of a chat's answer.
fn content(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    let answer = reply.json();
    let text = answer["choices"][0]["message"]["content"].as_str();
    text.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The data of a stream.
fn chunks(reply: &Reply) -> Vec<Value> {
    let events = reply.events();
    let chunks = events.iter().filter_map(|e| serde_json::from_str(e).ok());
    chunks.collect()
}

/// A chat whose answer is a text that is four bytes, and as many tokens, twice.
fn two_characters() -> Value {
    with(
        hello(),
        &json!({ "grammar": "root ::= \"🎉🎉\"", "max_tokens": 20, "temperature": 0 }),
    )
}

#[tokio::test]
async fn log_probabilities_are_those_of_plain_decoding_and_their_bytes_are_the_text() {
    let client = Client::start(&setup());
    let body = with(
        two_characters(),
        &json!({ "logprobs": true, "top_logprobs": 2 }),
    );
    let mut told: Vec<Vec<f64>> = Vec::new();
    for speculation in ["auto", "off"] {
        let body = with(body.clone(), &json!({ "speculation": speculation }));
        let reply = client.post(CHAT, &body).await;
        assert_eq!(content(&reply), "🎉🎉");
        let logprobs = reply.json()["choices"][0]["logprobs"]["content"].clone();
        let tokens = logprobs.as_array().unwrap();
        let bytes = tokens.iter().flat_map(|t| t["bytes"].as_array().unwrap());
        let bytes: Vec<u8> = bytes.map(|b| b.as_u64().unwrap() as u8).collect();
        assert_eq!(bytes, "🎉🎉".as_bytes());
        assert!(tokens.iter().all(|t| t["top_logprobs"][1].is_object()));
        told.push(
            tokens
                .iter()
                .map(|t| t["logprob"].as_f64().unwrap())
                .collect(),
        );
    }
    assert_eq!(told[0].len(), told[1].len());
    for (fast, plain) in told[0].iter().zip(&told[1]) {
        assert!(*plain < 0.0 && (fast - plain).abs() < 1e-3, "{told:?}");
    }
    // None of the alternatives is asked for, which is no error.
    let none = with(
        two_characters(),
        &json!({ "logprobs": true, "top_logprobs": 0 }),
    );
    let reply = client.post(CHAT, &none).await.json();
    let first = &reply["choices"][0]["logprobs"]["content"][0];
    assert_eq!(first["top_logprobs"], json!([]));
}

#[tokio::test]
async fn bytes_that_are_no_characters_have_names_of_their_own_in_a_completion() {
    let client = Client::start(&setup());
    let body = json!({ "prompt": "ab", "grammar": "root ::= \"🎉🎉\"", "max_tokens": 20,
                       "temperature": 0, "logprobs": 3 });
    let answer = client.post(COMPLETIONS, &body).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "🎉🎉");
    let list = |name: &str| choice["logprobs"][name].as_array().unwrap().clone();
    let (tokens, top, offsets) = (list("tokens"), list("top_logprobs"), list("text_offset"));
    let names: Vec<String> = "🎉🎉"
        .bytes()
        .map(|byte| format!("bytes:\\x{byte:02x}"))
        .collect();
    for (at, name) in names.iter().enumerate() {
        assert_eq!(tokens[at], name.as_str());
        let alternatives = top[at].as_object().unwrap();
        assert!(alternatives.contains_key(name), "{alternatives:?}");
        assert!((3..=4).contains(&alternatives.len()), "{alternatives:?}");
        let first = offsets[0].as_u64().unwrap();
        assert_eq!(offsets[at].as_u64(), Some(first + at as u64 / 4));
    }
}

#[tokio::test]
async fn a_character_that_was_cut_off_is_told_as_one_that_is_not_known() {
    let client = Client::start(&setup());
    let body = with(two_characters(), &json!({ "max_tokens": 6 }));
    let reply = client.post(CHAT, &body).await;
    assert_eq!(content(&reply), "🎉\u{fffd}");
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
    let reply = client
        .post(CHAT, &with(body, &json!({ "stream": true })))
        .await;
    let chunks = chunks(&reply);
    let pieces = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), "🎉\u{fffd}");
}

#[tokio::test]
async fn a_suffix_stands_behind_what_is_filled_in() {
    let mut setup = setup();
    setup.fills = true;
    let client = Client::start(&setup);
    let body = json!({ "prompt": "ab", "suffix": "cde", "max_tokens": 3 });
    let answer = client.post(COMPLETIONS, &body).await.json();
    // The vocabulary's three tokens, and a token for each byte.
    assert_eq!(answer["usage"]["prompt_tokens"], 3 + 5, "{answer}");
    assert!(answer["choices"][0]["text"].is_string());
}

#[tokio::test]
async fn a_schema_holds_in_whichever_words_it_is_sent() {
    let client = Client::start(&setup());
    let schema = json!({ "enum": ["yes", "no"] });
    for form in [
        json!({ "response_format": { "type": "json_object", "schema": schema } }),
        json!({ "response_format": { "type": "json_schema", "schema": schema } }),
        json!({ "response_format": { "type": "json_schema",
                                     "json_schema": { "name": "a", "schema": schema } } }),
        json!({ "json_schema": schema }),
        json!({ "guided_json": schema }),
        json!({ "structured_outputs": { "json": schema } }),
    ] {
        let body = with(with(hello(), &form), &json!({ "max_tokens": 16 }));
        let text = content(&client.post(CHAT, &body).await);
        assert!(["\"yes\"", "\"no\""].contains(&text.as_str()), "{form}");
    }
    let pattern = json!({ "type": "string", "pattern": "^hello there indeed\\!$" });
    let body = json!({ "json_schema": pattern, "max_tokens": 40 });
    let text = content(&client.post(CHAT, &with(hello(), &body)).await);
    assert_eq!(text, "\"hello there indeed!\"");
}

#[tokio::test]
async fn schemas_that_come_at_once_are_kept_apart() {
    let client = Client::start(&setup());
    let ask = async |number: u64| {
        let schema = json!({ "type": "object", "properties": { "number": { "const": number } },
                             "required": ["number"], "additionalProperties": false });
        let format = json!({ "type": "json_object", "schema": schema });
        let body = json!({ "response_format": format, "max_tokens": 120 });
        content(&client.post(CHAT, &with(hello(), &body)).await)
    };
    let texts = tokio::join!(
        ask(10),
        ask(11),
        ask(12),
        ask(13),
        ask(14),
        ask(15),
        ask(16),
        ask(17),
    );
    let (a, b, c, d, e, f, g, h) = texts;
    for (text, number) in [a, b, c, d, e, f, g, h].iter().zip(10..) {
        let answer: Value = serde_json::from_str(text).unwrap();
        assert_eq!(answer, json!({ "number": number }));
    }
}

#[tokio::test]
async fn two_calls_of_an_answer_have_numbers_and_names_of_their_own() {
    let client = Client::start(&setup());
    let function = json!({ "name": "f", "parameters": {
        "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"],
    } });
    let call = r#"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x\"}}\n</tool_call>"#;
    let grammar = format!("root ::= \"{call}\\n{}\"", call.replace('x', "y"));
    let more = json!({ "tools": [{ "type": "function", "function": function }],
                       "grammar": grammar, "max_tokens": 600 });
    let body = with(hello(), &more);
    let whole = client.post(CHAT, &body).await.json();
    let calls = whole["choices"][0]["message"]["tool_calls"].clone();
    let calls = calls.as_array().unwrap_or_else(|| panic!("{whole}"));
    assert_eq!(calls.len(), 2, "{whole}");
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    let reply = client
        .post(CHAT, &with(body, &json!({ "stream": true })))
        .await;
    let (mut names, mut arguments) = ([0, 0], [String::new(), String::new()]);
    for chunk in chunks(&reply) {
        let deltas = chunk["choices"][0]["delta"]["tool_calls"].clone();
        for call in deltas.as_array().into_iter().flatten() {
            let index = call["index"].as_u64().unwrap() as usize;
            names[index] += usize::from(call["function"]["name"] == "f");
            arguments[index] += call["function"]["arguments"].as_str().unwrap_or_default();
        }
    }
    assert_eq!(names, [1, 1], "{reply:?}");
    for (written, value) in arguments.iter().zip(["x", "y"]) {
        let written: Value = serde_json::from_str(written).unwrap();
        assert_eq!(written, json!({ "a": value }));
    }
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_named_as_the_request_calls_it() {
    let client = Client::start(&setup());
    let long = "x".repeat(5000);
    let completion = client.post(COMPLETIONS, &json!({ "prompt": long })).await;
    refused(&completion, "prompt", "a completion");
    let messages = json!({ "messages": [{ "role": "user", "content": long }] });
    let chat = client.post(CHAT, &messages).await;
    refused(&chat, "messages", "a chat");
}

/// Sends these requests one after the other, leaves each when it is at work, and waits until it is
/// not. Each would be at work for far longer than that is waited for.
async fn leaves_while_at_work(forward: Duration, bodies: &[Value]) {
    let client = Client::start(&TestSetup {
        context: 20_000,
        forward,
        ..setup()
    });
    for body in bodies {
        let bytes = request("POST", COMPLETIONS, &["Host: localhost"], &body.to_string());
        let stream = client.open(&bytes);
        client
            .until("the request at work", |health| health["running"] == 1)
            .await;
        drop(stream);
        client
            .until("the end of it", |health| health["running"] == 0)
            .await;
    }
}

#[tokio::test]
async fn who_leaves_while_the_prompt_is_read_gives_the_slot_back() {
    // Some seventy forwards.
    let long = json!({ "prompt": "a".repeat(18_000) });
    let bodies = [false, true].map(|stream| {
        let more = json!({ "stream": stream });
        with(with(endless(4), &long), &more)
    });
    leaves_while_at_work(Duration::from_millis(400), &bodies).await;
}

#[tokio::test]
async fn who_leaves_while_a_grammar_is_followed_gives_the_slot_back() {
    let grammar = json!({ "grammar": "root ::= [a-z]+" });
    let bodies = [false, true].map(|stream| {
        let more = json!({ "stream": stream });
        with(with(endless(19_000), &grammar), &more)
    });
    leaves_while_at_work(Duration::from_millis(30), &bodies).await;
}
