//! `/v1/responses`: items and events, in their order and shape.

use serde_json::{Value, json};

use crate::client::{Client, Reply, setup};
use crate::common::{ANNA, BERT, refused, two_keys, with};

const RESPONSES: &str = "/v1/responses";

/// A question that is answered by `"yes"`, with the quotation marks.
fn yes() -> Value {
    let format = json!({ "type": "json_schema", "name": "n", "schema": { "enum": ["yes"] } });
    json!({ "input": "hi", "text": { "format": format }, "max_output_tokens": 200,
            "temperature": 0 })
}

/// A question that is answered by a call of `f`.
fn called() -> Value {
    let parameters = json!({
        "type": "object", "properties": { "a": { "enum": ["x"] } }, "required": ["a"],
        "additionalProperties": false,
    });
    let tool = json!({ "type": "function", "name": "f", "parameters": parameters });
    json!({ "input": "hi", "tools": [tool], "tool_choice": "required",
            "max_output_tokens": 600, "temperature": 0 })
}

/// The events of a stream. Each has its name and its number, and there are no others.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(
        reply
            .header("content-type")
            .starts_with("text/event-stream"),
        "{reply:?}"
    );
    let names = reply.text.lines().filter_map(|l| l.strip_prefix("event: "));
    let names: Vec<&str> = names.collect();
    let events: Vec<Value> = reply
        .events()
        .iter()
        .map(|e| serde_json::from_str(e).unwrap())
        .collect();
    assert_eq!(names.len(), events.len());
    for (i, (event, name)) in events.iter().zip(names).enumerate() {
        assert_eq!(event["type"], name);
        assert_eq!(event["sequence_number"], i, "{event}");
    }
    events
}

/// The types of events, each run of deltas as one.
fn types(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

/// The answer without what differs between two of them.
fn same(response: &Value) -> Value {
    let mut response = response.clone();
    for field in ["id", "created_at", "completed_at"] {
        response[field] = Value::Null;
    }
    for item in response["output"].as_array_mut().unwrap() {
        item["id"] = Value::Null;
        if item.get("call_id").is_some() {
            item["call_id"] = Value::Null;
        }
    }
    // What was read before differs, too.
    response["usage"]["input_tokens_details"] = Value::Null;
    response
}

#[tokio::test]
async fn a_text_comes_in_order_and_is_what_the_whole_answer_says() {
    let client = Client::start(&setup());
    let whole = client.post(RESPONSES, &yes()).await.json();
    let streamed = with(yes(), &json!({ "stream": true }));
    let events = events(&client.post(RESPONSES, &streamed).await);
    assert_eq!(
        types(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let deltas = events
        .iter()
        .filter(|e| e["type"] == "response.output_text.delta");
    let text: String = deltas.map(|e| e["delta"].as_str().unwrap()).collect();
    // A grammar may let blanks stand around it.
    assert_eq!(text.trim(), "\"yes\"");
    let last = &events[events.len() - 1]["response"];
    assert_eq!(same(last), same(&whole));
    assert_eq!(whole["object"], "response");
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["store"], true);
    assert!(whole["completed_at"].is_u64() && whole["error"].is_null());
    assert_eq!(whole["tool_choice"], "auto");
    let item = &whole["output"][0];
    let part = json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] });
    assert_eq!(
        item,
        &json!({ "id": item["id"], "type": "message", "status": "completed",
                 "role": "assistant", "content": [part] })
    );
    let usage = &whole["usage"];
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 0);
    let (read, wrote) = (
        usage["input_tokens"].as_u64(),
        usage["output_tokens"].as_u64(),
    );
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(read.unwrap() + wrote.unwrap())
    );
    // All that is said of the item names it, and where it stands.
    for event in &events[3..events.len() - 2] {
        assert_eq!(event["output_index"], 0, "{event}");
        assert_eq!(event["content_index"], 0, "{event}");
        assert_eq!(event["item_id"], events[2]["item"]["id"], "{event}");
    }
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert!(events[0]["response"]["usage"].is_null());
}

#[tokio::test]
async fn a_call_comes_in_order_and_goes_back_in() {
    let client = Client::start(&setup());
    let whole = client.post(RESPONSES, &called()).await.json();
    let streamed = with(called(), &json!({ "stream": true }));
    let events = events(&client.post(RESPONSES, &streamed).await);
    assert_eq!(
        types(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let begun = &events[2]["item"];
    assert_eq!(
        (&begun["type"], &begun["name"]),
        (&json!("function_call"), &json!("f"))
    );
    assert_eq!(
        (&begun["arguments"], &begun["status"]),
        (&json!(""), &json!("in_progress"))
    );
    // The arguments come as they are written, blanks and all.
    let deltas = events
        .iter()
        .filter(|e| e["type"] == "response.function_call_arguments.delta");
    assert!(deltas.clone().count() > 0, "{events:?}");
    let pieces: String = deltas.map(|e| e["delta"].as_str().unwrap()).collect();
    let written: Value = serde_json::from_str(&pieces).unwrap();
    assert_eq!(written, json!({ "a": "x" }));
    let done = &events[events.len() - 3];
    assert_eq!(done["arguments"], pieces.as_str());
    assert_eq!(
        events[events.len() - 2]["item"]["arguments"],
        pieces.as_str()
    );
    let call = &whole["output"][0];
    assert_eq!(call["arguments"], r#"{"a":"x"}"#);
    assert_eq!(call["status"], "completed");
    assert!(call.get("namespace").is_none());
    assert!(call["call_id"].as_str().unwrap().starts_with("call_"));
    // The client runs the function, and sends everything back as it came.
    let output =
        json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "1" });
    let input = json!([{ "role": "user", "content": "hi" }, call, output]);
    let reply = client
        .post(RESPONSES, &with(yes(), &json!({ "input": input })))
        .await;
    let text = reply.json()["output"][0]["content"][0]["text"].clone();
    assert_eq!(text.as_str().unwrap().trim(), "\"yes\"");
    // A function in a namespace says in which.
    let within = json!({ "type": "namespace", "name": "space", "tools": called()["tools"] });
    let body = with(called(), &json!({ "tools": [within] }));
    let reply = client.post(RESPONSES, &body).await.json();
    assert_eq!(reply["output"][0]["namespace"], "space", "{reply}");
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_incomplete() {
    let client = Client::start(&setup());
    let body = json!({ "input": "hi", "max_output_tokens": 3, "logit_bias": { "97": 100 } });
    let whole = client.post(RESPONSES, &body).await.json();
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(whole["output"][0]["status"], "incomplete");
    assert_eq!(whole["output"][0]["content"][0]["text"], "aaa");
    assert_eq!(whole["usage"]["output_tokens"], 3);
    assert_eq!(whole["max_output_tokens"], 3);
    let reply = client
        .post(RESPONSES, &with(body, &json!({ "stream": true })))
        .await;
    let events = events(&reply);
    assert_eq!(types(&events).last(), Some(&"response.incomplete"));
}

#[tokio::test]
async fn log_probabilities_come_with_the_text() {
    let client = Client::start(&setup());
    for more in [
        json!({ "include": ["message.output_text.logprobs"] }),
        json!({ "top_logprobs": 2 }),
    ] {
        let body = with(yes(), &more);
        let whole = client.post(RESPONSES, &body).await.json();
        let logprobs = &whole["output"][0]["content"][0]["logprobs"];
        let tokens: String = logprobs
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|t| t["token"].as_str())
            .collect();
        assert!(tokens.trim().starts_with("\"yes\""), "{logprobs}");
        let top = logprobs[0]["top_logprobs"].as_array().unwrap().len();
        assert_eq!(top as u64, more["top_logprobs"].as_u64().unwrap_or(0));
    }
}

#[tokio::test]
async fn a_stream_that_would_keep_too_many_log_probabilities_is_refused() {
    let mut setup = setup();
    setup.context = 20_000;
    let client = Client::start(&setup);
    for stream in [false, true] {
        let body = json!({ "input": "hi", "top_logprobs": 20, "stream": stream });
        refused(
            &client.post(RESPONSES, &body).await,
            "top_logprobs",
            "no bound",
        );
        let body = with(body, &json!({ "max_output_tokens": 20 }));
        assert_eq!(client.post(RESPONSES, &body).await.status, 200);
    }
}

#[tokio::test]
async fn an_answer_repeats_no_more_of_its_request_than_it_has_room_for() {
    let client = Client::start(&setup());
    // A stream repeats it three times, which is more than 8 MiB.
    let large = json!({ "metadata": { "a": "x".repeat(3 << 20) }, "store": false });
    let body = with(yes(), &large);
    let reply = client
        .post(RESPONSES, &with(body.clone(), &json!({ "stream": true })))
        .await;
    refused(&reply, "metadata", "three times 3 MiB");
    let whole = client.post(RESPONSES, &body).await;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.json()["metadata"], large["metadata"]);
}

#[tokio::test]
async fn what_is_not_done_is_refused_by_name() {
    let client = Client::start(&setup());
    let cases = [
        (
            json!({ "previous_response_id": "resp_1" }),
            "previous_response_id",
        ),
        (json!({ "background": true }), "background"),
        (
            json!({ "tools": [{ "type": "code_interpreter" }] }),
            "tools[0].type",
        ),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }),
            "input[0].content[0].type",
        ),
        (
            json!({ "text": { "format": { "type": "json_schema", "schema": { "type": "nonsense" } } } }),
            "text.format.schema",
        ),
    ];
    for (more, field) in cases {
        for stream in [false, true] {
            let body = with(json!({ "input": "hi", "stream": stream }), &more);
            let reply = client.post(RESPONSES, &body).await;
            refused(&reply, field, &body.to_string());
        }
    }
    for method in ["GET", "DELETE"] {
        let reply = client.ask(method, "/v1/responses/resp_1", &[], "").await;
        assert_eq!(reply.status, 404, "{reply:?}");
        assert!(reply.error().1.contains("keeps no responses"), "{reply:?}");
    }
}

#[tokio::test]
async fn an_item_can_be_referred_to_by_whom_it_was_written_for() {
    let client = Client::start(&two_keys());
    let ask = async |key: &str, body: Value| client.post_as(key, RESPONSES, &body).await;
    let refer = |answer: &Value| {
        let reference = json!({ "type": "item_reference", "id": answer["output"][0]["id"] });
        let user = json!({ "role": "user", "content": "hi" });
        with(yes(), &json!({ "input": [user, reference, user] }))
    };
    let answer = ask(ANNA, yes()).await.json();
    assert_eq!(ask(ANNA, refer(&answer)).await.status, 200);
    refused(
        &ask(BERT, refer(&answer)).await,
        "input[1].id",
        "another key",
    );
    let body = with(yes(), &json!({ "store": false }));
    let answer = ask(ANNA, body).await.json();
    assert_eq!(answer["store"], false);
    refused(
        &ask(ANNA, refer(&answer)).await,
        "input[1].id",
        "not stored",
    );
    // What is remembered is the same at both paths, one request after the other.
    for (wrote, refers) in [
        ("/responses", "/responses"),
        ("/responses", RESPONSES),
        (RESPONSES, "/responses"),
    ] {
        let answer = client.post_as(ANNA, wrote, &yes()).await.json();
        let reply = client.post_as(ANNA, refers, &refer(&answer)).await;
        assert_eq!(reply.status, 200, "{wrote}, {refers}: {reply:?}");
    }
}
