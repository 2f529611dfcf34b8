#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{MessagesRequest, parse_count, parse_messages};
use crate::error::ApiError;
use crate::job::{AnswerShape, PromptInput};

/// A body with a message of the user and these fields.
fn body(more: &Value) -> Vec<u8> {
    let mut body = json!({
        "model": "m",
        "max_tokens": 16,
        "messages": [{ "role": "user", "content": "hi" }],
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string().into_bytes()
}

fn parsed(more: &Value) -> MessagesRequest {
    parse_messages(&body(more)).unwrap()
}

/// The field that is named, and the message.
fn refusal(more: &Value) -> (String, String) {
    let error = parse_messages(&body(more)).unwrap_err();
    assert_eq!(error.status.as_u16(), 400);
    let param = error.param().unwrap_or_default().to_owned();
    (param, error.message().to_owned())
}

/// The messages as the template gets them.
fn messages(more: &Value) -> Value {
    match parsed(more).job.prompts.pop().unwrap() {
        PromptInput::Chat { messages, .. } => messages,
        other => panic!("{other:?} is no chat"),
    }
}

/// The tools as the template gets them.
fn tools(more: &Value) -> Option<Value> {
    match parsed(more).job.prompts.pop().unwrap() {
        PromptInput::Chat { tools, .. } => tools,
        other => panic!("{other:?} is no chat"),
    }
}

#[test]
fn what_is_given_is_in_the_job() {
    let job = parsed(&json!({
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop_sequences": ["a", "b"],
        "stream": true, "metadata": { "user_id": "u" }, "service_tier": "auto",
    }))
    .job;
    assert!(job.chat && job.stream && !job.tools);
    assert_eq!((job.n, job.max_tokens), (1, Some(16)));
    assert_eq!(job.model.as_deref(), Some("m"));
    assert_eq!(job.stop.to_vec(), ["a", "b"]);
    let params = &job.params;
    assert_eq!(
        (params.temperature, params.top_p, params.top_k),
        (0.5, 0.9, 5)
    );
    let plain = parsed(&json!({})).job;
    assert_eq!((plain.params.temperature, plain.params.top_p), (1.0, 1.0));
}

#[test]
fn instructions_are_text_or_blocks_without_the_billing_line() {
    let header = |sum: &str| {
        format!("x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch={sum};")
    };
    let system = |sum: &str| {
        messages(&json!({ "system": [
            { "type": "text", "text": header(sum) },
            { "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } },
            { "type": "text", "text": "Be kind." },
        ] }))
    };
    assert_eq!(system("a5145"), system("fa690"));
    assert_eq!(
        system("a5145")[0],
        json!({ "role": "system", "content": "Be brief.\nBe kind." })
    );
    let text = messages(&json!({ "system": format!("{}\nBe brief.", header("00000")) }));
    assert_eq!(text[0]["content"], "Be brief.");
    // Nothing is left, so there is no such message.
    let none = messages(&json!({ "system": header("00000") }));
    assert_eq!(none, json!([{ "role": "user", "content": "hi" }]));
}

#[test]
fn a_conversation_is_as_templates_take_it() {
    let all = messages(&json!({ "messages": [
        { "role": "user", "content": "Weather in Paris and Rome?" },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Two cities.", "signature": "s" },
            { "type": "redacted_thinking", "data": "x" },
            { "type": "text", "text": "I look.", "citations": null },
            { "type": "tool_use", "id": "t1", "name": "weather", "input": { "city": "Paris" } },
            { "type": "tool_use", "id": "t2", "name": "weather", "input": {} },
        ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t1", "content": "18 degrees" },
            { "type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
                { "type": "text", "text": "no" }, { "type": "text", "text": "city" },
            ] },
            { "type": "tool_result", "tool_use_id": "t3" },
            { "type": "text", "text": "Well?" },
        ] },
        { "role": "user", "content": "Go on." },
    ] }));
    let call = |id: &str, arguments: Value| {
        let function = json!({ "name": "weather", "arguments": arguments });
        json!({ "id": id, "type": "function", "function": function })
    };
    let wanted = json!([
        { "role": "user", "content": "Weather in Paris and Rome?" },
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Two cities.",
            "tool_calls": [call("t1", json!({ "city": "Paris" })), call("t2", json!({}))],
        },
        { "role": "tool", "name": "weather", "tool_call_id": "t1", "content": "18 degrees" },
        { "role": "tool", "name": "weather", "tool_call_id": "t2", "content": "Error: no\ncity" },
        { "role": "tool", "tool_call_id": "t3", "content": "" },
        { "role": "user", "content": "Well?\nGo on." },
    ]);
    assert_eq!(all, wanted);
}

fn weather() -> Value {
    json!({
        "name": "weather",
        "description": "Weather of a city",
        "input_schema": { "type": "object", "properties": { "city": { "type": "string" } } },
    })
}

#[test]
fn tools_are_offered_and_forced() {
    let auto = json!({ "tools": [weather()] });
    let function = json!({
        "name": "weather",
        "description": "Weather of a city",
        "parameters": weather()["input_schema"],
    });
    let wanted = json!([{ "type": "function", "function": function }]);
    assert_eq!(tools(&auto), Some(wanted));
    let request = parsed(&auto);
    assert!(request.job.tools && request.job.shape.is_none() && !request.one_call);
    for choice in [
        json!({ "type": "any", "disable_parallel_tool_use": true }),
        json!({ "type": "tool", "name": "weather", "disable_parallel_tool_use": true }),
    ] {
        let request = parsed(&json!({ "tools": [weather()], "tool_choice": choice }));
        assert!(request.one_call);
        let Some(AnswerShape::Call(forced)) = request.job.shape else {
            panic!("{choice} forces nothing");
        };
        assert_eq!(forced.len(), 1);
    }
    let none = json!({ "tools": [weather()], "tool_choice": { "type": "none" } });
    assert_eq!(tools(&none), None);
    assert!(!parsed(&none).job.tools);
    let mut shown = weather();
    shown["input_examples"] = json!([{ "city": "Rome" }]);
    let told = tools(&json!({ "tools": [shown] })).unwrap();
    let description = told[0]["function"]["description"].as_str().unwrap();
    assert!(
        description.ends_with("{\"city\":\"Rome\"}"),
        "{description}"
    );
}

#[test]
fn thinking_is_switched() {
    let thinking = |thinking: Value| parsed(&json!({ "max_tokens": 4096, "thinking": thinking }));
    let on = thinking(json!({ "type": "enabled", "budget_tokens": 1024 }));
    assert_eq!(
        (on.job.template.thinking, on.thinking.hidden),
        (Some(true), false)
    );
    let off = thinking(json!({ "type": "disabled" }));
    assert_eq!(off.job.template.thinking, Some(false));
    let free = thinking(json!({ "type": "adaptive", "display": "omitted" }));
    assert_eq!(
        (free.job.template.thinking, free.thinking.hidden),
        (None, true)
    );
    assert_eq!(parsed(&json!({})).job.template.thinking, None);
}

#[test]
fn a_format_is_a_shape() {
    let schema = json!({ "type": "object" });
    let format = json!({ "type": "json_schema", "schema": schema });
    let output = json!({ "output_config": { "effort": "high", "format": format } });
    assert_eq!(parsed(&output).job.shape, Some(AnswerShape::Schema(schema)));
}

#[test]
fn what_changes_nothing_is_taken() {
    let edit = json!({ "type": "clear_thinking_20251015", "keep": "all" });
    for more in [
        json!({ "context_management": { "edits": [edit] } }),
        json!({ "mcp_servers": [], "container": null, "unheard_of": null }),
        json!({ "speed": "fast", "inference_geo": "eu", "diagnostics": {} }),
        json!({ "tools": [] }),
    ] {
        parsed(&more);
    }
}

/// The model said this block, and the user goes on.
fn said(block: Value) -> Value {
    json!({ "messages": [
        { "role": "assistant", "content": [block] },
        { "role": "user", "content": "a" },
    ] })
}

/// Each of these is refused, and the message names the field by its path.
fn refused_by_path(cases: impl IntoIterator<Item = (Value, &'static str)>) {
    for (more, path) in cases {
        let (param, message) = refusal(&more);
        assert_eq!(param, path, "{more}: {message}");
        assert!(!message.is_empty());
    }
}

#[test]
fn wrong_fields_are_named_with_their_paths() {
    refused_by_path([
        (json!({ "max_tokens": null }), "max_tokens"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "unheard_of": 1 }), "unheard_of"),
        (json!({ "stop_sequences": [""] }), "stop_sequences[0]"),
        (
            json!({ "thinking": { "type": "between_tools" } }),
            "thinking.type",
        ),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 16 } }),
            "thinking.budget_tokens",
        ),
        (
            json!({ "output_config": { "format": {} } }),
            "output_config.format.type",
        ),
        (json!({ "mcp_servers": [{ "url": "u" }] }), "mcp_servers"),
        (json!({ "container": "c" }), "container"),
        (
            json!({ "context_management": { "edits": [{ "type": "clear_tool_uses_20250919" }] } }),
            "context_management.edits[0].type",
        ),
    ]);
}

#[test]
fn wrong_messages_are_named_with_their_paths() {
    let blocks = |blocks: Value| json!({ "messages": [{ "role": "user", "content": blocks }] });
    refused_by_path([
        (json!({ "messages": [] }), "messages"),
        (
            json!({ "messages": [{ "role": "tool", "content": "" }] }),
            "messages[0].role",
        ),
        (
            json!({ "messages": [{ "content": "" }] }),
            "messages[0].role",
        ),
        (
            json!({ "messages": [{ "role": "user" }] }),
            "messages[0].content",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "a", "x": 1 }] }),
            "messages[0].x",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "content": "a" }] }),
            "messages",
        ),
        (
            json!({ "system": [{ "type": "image", "source": {} }] }),
            "system[0].type",
        ),
        (
            blocks(json!([{ "text": "a" }])),
            "messages[0].content[0].type",
        ),
        (
            blocks(json!([{ "type": "text" }])),
            "messages[0].content[0].text",
        ),
        (
            blocks(json!([{ "type": "image", "source": {} }])),
            "messages[0].content[0].type",
        ),
        (
            blocks(json!([{ "type": "document", "source": {}, "title": "t" }])),
            "messages[0].content[0].type",
        ),
        (
            blocks(json!([{ "type": "text", "text": "a", "x": 1 }])),
            "messages[0].content[0].x",
        ),
        (
            blocks(json!([{ "type": "tool_result", "content": "a" }])),
            "messages[0].content[0].tool_use_id",
        ),
        (
            blocks(json!([{
                "type": "tool_result", "tool_use_id": "t",
                "content": [{ "type": "image", "source": {} }],
            }])),
            "messages[0].content[0].content[0].type",
        ),
        (
            blocks(json!([{ "type": "tool_use", "id": "t", "name": "f", "input": {} }])),
            "messages[0].content[0].type",
        ),
        (
            said(json!({ "type": "tool_use", "id": "t", "name": "f", "input": [] })),
            "messages[0].content[0].input",
        ),
        (
            said(json!({ "type": "thinking" })),
            "messages[0].content[0].thinking",
        ),
    ]);
    let result = said(json!({ "type": "tool_result", "tool_use_id": "t" }));
    assert_eq!(refusal(&result).0, "messages[0].content[0].type");
}

#[test]
fn wrong_tools_are_named_with_their_paths() {
    let tool = |more: Value| {
        let mut tool = weather();
        for (name, value) in more.as_object().unwrap() {
            tool[name] = value.clone();
        }
        json!({ "tools": [tool] })
    };
    let choice = |choice: Value| json!({ "tools": [weather()], "tool_choice": choice });
    refused_by_path([
        (tool(json!({ "name": "" })), "tools[0].name"),
        (
            tool(json!({ "input_schema": null })),
            "tools[0].input_schema",
        ),
        (tool(json!({ "input_schema": [] })), "tools[0].input_schema"),
        (
            tool(json!({ "type": "web_search_20250305" })),
            "tools[0].type",
        ),
        (
            tool(json!({ "defer_loading": true })),
            "tools[0].defer_loading",
        ),
        (tool(json!({ "x": true })), "tools[0].x"),
        (
            choice(json!({ "type": "tool", "name": "g" })),
            "tool_choice.name",
        ),
        (choice(json!({ "type": "tool" })), "tool_choice.name"),
        (choice(json!({ "type": "some" })), "tool_choice.type"),
        (
            json!({ "tool_choice": { "type": "any" } }),
            "tool_choice.type",
        ),
    ]);
}

#[test]
fn counting_needs_no_bound_of_the_answer() {
    let count = |text: &str| parse_count(text.as_bytes());
    let whole = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(count(whole).unwrap().prompts.len(), 1);
    let refused: ApiError = count(r#"{"model":"m"}"#).unwrap_err();
    assert_eq!(refused.param(), Some("messages"));
    let with_more =
        r#"{"max_tokens":1,"messages":[{"role":"user","content":"hi"}],"stream":false}"#;
    assert!(count(with_more).is_ok());
}

#[test]
fn what_is_no_request_is_refused_with_a_message() {
    for body in [&b"{"[..], b"[]", b"null", b"\xff", b"", b"{}}"] {
        assert!(!parse_messages(body).unwrap_err().message().is_empty());
        assert!(!parse_count(body).unwrap_err().message().is_empty());
    }
}
