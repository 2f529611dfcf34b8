#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{ParsedResponse, parse_response};
use crate::error::ApiError;
use crate::job::{AnswerShape, PromptInput};

fn parse(body: &Value) -> Result<ParsedResponse, ApiError> {
    let known = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{ "type": "output_text", "text": "Hi.", "annotations": [] }],
    });
    let recall = |id: &str| (id == "msg_1").then(|| known.clone());
    parse_response(body.to_string().as_bytes(), &recall)
}

fn messages(body: &Value) -> Value {
    match &parse(body).unwrap().job.prompts[..] {
        [PromptInput::Chat { messages, .. }] => messages.clone(),
        other => panic!("{other:?}"),
    }
}

/// The field that is named.
fn refused(body: &Value) -> String {
    let error = parse(body).unwrap_err();
    assert_eq!(error.status.as_u16(), 400);
    error.param().unwrap_or_default().to_owned()
}

#[test]
fn a_text_is_what_a_user_says() {
    let wanted = json!([
        { "role": "system", "content": "Be nice." },
        { "role": "user", "content": "hi" },
    ]);
    let body = json!({ "input": "hi", "instructions": "Be nice." });
    assert_eq!(messages(&body), wanted);
}

#[test]
fn items_become_messages() {
    let body = json!({ "instructions": "a", "input": [
        { "role": "developer", "content": "b" },
        { "type": "message", "role": "user", "content": [
            { "type": "input_text", "text": "" },
            { "type": "input_text", "text": "c" }, { "type": "input_text", "text": "d" }] },
        { "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": null,
          "content": [{ "type": "reasoning_text", "text": "hm" }] },
        { "type": "message", "role": "assistant", "content": [
            { "type": "output_text", "text": "e", "annotations": [], "logprobs": [] }] },
        { "type": "function_call", "call_id": "1", "name": "f", "arguments": "{\"a\":1}" },
        { "type": "function_call", "call_id": "2", "name": "g", "arguments": "no JSON" },
        { "type": "function_call_output", "call_id": "1", "output": "1" },
        { "type": "function_call_output", "call_id": "2", "output": [
            { "type": "input_text", "text": "2" }] },
        { "type": "item_reference", "id": "msg_1" },
        { "role": "system", "content": "f" },
        { "role": "user", "content": "g" },
    ] });
    let call = |id: &str, name: &str, arguments: Value| {
        json!({ "id": id, "type": "function",
                "function": { "name": name, "arguments": arguments } })
    };
    let wanted = json!([
        { "role": "system", "content": "a\n\nb" },
        { "role": "user", "content": "c\nd" },
        { "role": "assistant", "content": "e", "reasoning_content": "hm", "tool_calls": [
            call("1", "f", json!({ "a": 1 })), call("2", "g", json!("no JSON"))] },
        { "role": "tool", "tool_call_id": "1", "content": "1" },
        { "role": "tool", "tool_call_id": "2", "content": "2" },
        { "role": "assistant", "content": "Hi." },
        { "role": "system", "content": "f" },
        { "role": "user", "content": "g" },
    ]);
    assert_eq!(messages(&body), wanted);
}

/// Each of these is refused, and the field is named by its path.
fn refused_by_path(cases: impl IntoIterator<Item = (Value, &'static str)>) {
    for (body, field) in cases {
        assert_eq!(refused(&body), field, "{body}");
    }
}

#[test]
fn what_is_wrong_with_the_input_is_named_with_its_path() {
    let item = |item: Value| json!({ "input": [{ "role": "user", "content": "a" }, item] });
    refused_by_path([
        (json!({}), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": 7 }), "input"),
        (item(json!(7)), "input[1]"),
        (item(json!({})), "input[1].type"),
        (item(json!({ "type": "message" })), "input[1].role"),
        (
            item(json!({ "role": "king", "content": "" })),
            "input[1].role",
        ),
        (
            item(json!({ "role": "user", "content": 7 })),
            "input[1].content",
        ),
        (
            item(json!({ "role": "user", "content": [{ "type": "input_image" }] })),
            "input[1].content[0].type",
        ),
        (
            item(json!({ "role": "user", "content": [{ "type": "input_file" }] })),
            "input[1].content[0].type",
        ),
        (
            item(json!({ "role": "user", "content": [{ "type": "input_text" }] })),
            "input[1].content[0].text",
        ),
        (
            item(json!({ "type": "function_call", "call_id": "1" })),
            "input[1].name",
        ),
        (
            item(json!({ "type": "function_call_output" })),
            "input[1].call_id",
        ),
        (
            item(json!({ "type": "item_reference", "id": "msg_2" })),
            "input[1].id",
        ),
        (item(json!({ "type": "web_search_call" })), "input[1].type"),
    ]);
}

#[test]
fn what_is_wrong_beside_the_input_is_named_with_its_path() {
    refused_by_path([
        (
            json!({ "input": "a", "previous_response_id": "resp_1" }),
            "previous_response_id",
        ),
        (json!({ "input": "a", "conversation": "c" }), "conversation"),
        (json!({ "input": "a", "background": true }), "background"),
        (json!({ "input": "a", "n": 2 }), "n"),
        (
            json!({ "input": "a", "max_output_tokens": 0 }),
            "max_output_tokens",
        ),
        (
            json!({ "input": "a", "include": ["everything"] }),
            "include[0]",
        ),
        (json!({ "input": "a", "truncation": "some" }), "truncation"),
        (json!({ "input": "a", "metadata": [] }), "metadata"),
        (
            json!({ "input": "a", "text": { "format": { "type": "xml" } } }),
            "text.format.type",
        ),
        (
            json!({ "input": "a", "text": { "format": { "type": "json_schema" } } }),
            "text.format.schema",
        ),
        (
            json!({ "input": "a", "text": {
                "format": { "type": "json_object", "response_schema": {} } } }),
            "text.format.response_schema",
        ),
        (
            json!({ "input": "a", "tools": [{ "type": "mcp" }] }),
            "tools[0].type",
        ),
        (
            json!({ "input": "a", "tools": [{ "type": "file_search" }] }),
            "tools[0].type",
        ),
        (
            json!({ "input": "a", "tools": [{ "type": "function" }] }),
            "tools[0].name",
        ),
        (
            json!({ "input": "a", "tools": [{ "type": "web_search" }], "tool_choice": "required" }),
            "tool_choice",
        ),
        (
            json!({ "input": "a", "tool_choice": { "type": "mcp" } }),
            "tool_choice",
        ),
    ]);
}

#[test]
fn how_a_model_thinks_is_said_as_in_a_chat() {
    let job = |more: Value| {
        let mut body = json!({ "input": "a" });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        parse(&body).map(|parsed| parsed.job)
    };
    for (more, thinking) in [
        (json!({ "reasoning": { "effort": "none" } }), Some(false)),
        (json!({ "reasoning": { "enabled": false } }), Some(false)),
        (json!({ "enable_thinking": true }), Some(true)),
        (json!({ "thinking": { "type": "disabled" } }), Some(false)),
        (json!({ "reasoning": { "exclude": false } }), None),
    ] {
        let template = job(more.clone()).unwrap().template;
        assert_eq!(template.thinking, thinking, "{more}");
    }
    for more in [
        json!({ "reasoning": { "max_tokens": 7 } }),
        json!({ "thinking": { "type": "enabled", "budget_tokens": 7 } }),
        json!({ "thinking_budget": 7 }),
        json!({ "reasoning_budget_tokens": 7 }),
    ] {
        assert_eq!(
            job(more.clone()).unwrap().thinking_budget,
            Some(7),
            "{more}"
        );
    }
    let effort = job(json!({ "reasoning": { "effort": "low" } })).unwrap();
    assert_eq!(effort.template.effort.as_deref(), Some("low"));
    for (more, field) in [
        (
            json!({ "reasoning": { "exclude": true } }),
            "reasoning.exclude",
        ),
        (
            json!({ "reasoning": { "enabled": true, "effort": "none" } }),
            "reasoning.effort",
        ),
        (
            json!({ "reasoning": { "max_tokens": 1 }, "thinking_budget": 2 }),
            "reasoning.max_tokens",
        ),
    ] {
        let error = job(more.clone()).unwrap_err();
        assert_eq!(error.param(), Some(field), "{more}");
    }
}

#[test]
fn tools_are_functions_and_namespaces_of_functions() {
    let function = |name: &str| json!({ "type": "function", "name": name, "strict": true });
    let tools = json!([
        function("f"),
        { "type": "namespace", "name": "n", "tools": [function("g")] },
        { "type": "web_search", "external_web_access": false },
    ]);
    let parsed = parse(&json!({ "input": "a", "tools": tools })).unwrap();
    let names: Vec<&str> = parsed.job.offered.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(parsed.echo.namespaces, [("g".to_owned(), "n".to_owned())]);
    // The answer says which tools the model was told of.
    assert_eq!(parsed.echo.fields["tools"], json!([tools[0], tools[1]]));
    assert_eq!(parsed.echo.fields["tool_choice"], "auto");
    let forced = parse(&json!({
        "input": "a", "tools": [function("f"), function("h")],
        "tool_choice": { "type": "function", "name": "h" },
    }));
    let forced = forced.unwrap();
    let any = json!({ "type": "object" });
    assert_eq!(
        forced.job.shape,
        Some(AnswerShape::Call(vec![("h".into(), any)]))
    );
    assert_eq!(
        forced.echo.fields["tool_choice"],
        json!({ "type": "function", "name": "h" })
    );
    let twice =
        json!([function("g"), { "type": "namespace", "name": "n", "tools": [function("g")] }]);
    assert_eq!(refused(&json!({ "input": "a", "tools": twice })), "tools");
}

#[test]
fn a_forced_call_stands_beside_no_format() {
    let tools = json!([{ "type": "function", "name": "f" }]);
    let object = json!({ "format": { "type": "json_object" } });
    let body = json!({
        "input": "a", "tools": tools, "tool_choice": "required", "text": object,
    });
    assert_eq!(refused(&body), "text.format.type");
    let body = json!({ "input": "a", "tools": tools, "tool_choice": "auto", "text": object });
    assert!(parse(&body).is_ok());
}

#[test]
fn what_clients_send_by_default_is_understood() {
    let codex = json!({
        "model": "m", "stream": true, "tools": [], "tool_choice": "auto",
        "input": [{ "type": "message", "id": "msg_9", "role": "developer",
                    "content": [{ "type": "input_text", "text": "a" }] },
                  { "type": "message", "role": "user",
                    "content": [{ "type": "input_text", "text": "b" }] }],
        "parallel_tool_calls": true, "reasoning": { "summary": "auto" }, "store": false,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
        "client_metadata": { "session_id": "s" },
    });
    let parsed = parse(&codex).unwrap();
    assert!(parsed.job.stream && parsed.job.logprobs.is_none() && !parsed.echo.remember);
    assert_eq!(parsed.echo.fields["store"], false);
    let agents = json!({
        "model": "m", "instructions": "a", "tools": [], "include": [],
        "input": [{ "role": "user", "content": "hi" }],
    });
    let parsed = parse(&agents).unwrap();
    assert!(parsed.echo.remember);
    assert_eq!(parsed.echo.fields["store"], true);
    let wanted = json!({ "input": "a", "top_logprobs": 2, "max_output_tokens": 9,
        "text": { "format": { "type": "json_schema", "name": "n", "schema": { "type": "object" } } } });
    let parsed = parse(&wanted).unwrap();
    assert_eq!(
        (parsed.job.logprobs, parsed.job.max_tokens),
        (Some(2), Some(9))
    );
    assert_eq!(parsed.job.shape_field, "text.format.schema");
}
