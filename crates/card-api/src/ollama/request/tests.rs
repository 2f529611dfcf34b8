#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::{OllamaRequest, parse_generate, parse_ollama_chat, parse_show};
use crate::error::ApiError;
use crate::job::{AnswerShape, PromptInput};

/// `base` with the fields of `more`.
fn body(mut base: Value, more: &Value) -> Vec<u8> {
    for (name, value) in more.as_object().unwrap() {
        base[name] = value.clone();
    }
    base.to_string().into_bytes()
}

fn chat(more: &Value) -> Result<OllamaRequest, ApiError> {
    let base = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    parse_ollama_chat(&body(base, more))
}

fn generate(more: &Value) -> Result<OllamaRequest, ApiError> {
    parse_generate(&body(json!({ "model": "m", "prompt": "hi" }), more))
}

/// The messages and tools as the template gets them.
fn prompt(request: Result<OllamaRequest, ApiError>) -> (Value, Option<Value>) {
    match request.unwrap().job.prompts.pop().unwrap() {
        PromptInput::Chat { messages, tools } => (messages, tools),
        other => panic!("{other:?} is no chat"),
    }
}

#[test]
fn defaults_are_those_of_ollama() {
    for job in [
        chat(&json!({})).unwrap().job,
        generate(&json!({})).unwrap().job,
    ] {
        assert!(job.chat && job.stream && !job.tools);
        assert_eq!(
            (job.max_tokens, job.seed, job.template.thinking),
            (None, None, None)
        );
        let params = &job.params;
        assert_eq!(
            (params.temperature, params.top_k, params.top_p),
            (0.8, 40, 0.9)
        );
        assert_eq!((params.repeat_penalty, params.penalty_window), (1.1, 64));
    }
}

#[test]
fn options_are_mapped() {
    let options = json!({
        "num_predict": 5, "temperature": 0, "top_k": 3, "top_p": 0.5, "min_p": 0.1, "seed": 7,
        "stop": ["a", "b"], "repeat_penalty": 1.5, "repeat_last_n": -1, "frequency_penalty": 0.2,
        "presence_penalty": 0.3, "num_ctx": 8192, "num_thread": 4, "typical_p": 1.0,
    });
    let job = chat(&json!({ "options": options, "keep_alive": "5m" }))
        .unwrap()
        .job;
    assert_eq!((job.max_tokens, job.seed), (Some(5), Some(7)));
    assert_eq!(job.stop.to_vec(), ["a", "b"]);
    let params = &job.params;
    assert_eq!(
        (params.temperature, params.top_k, params.top_p),
        (0.0, 3, 0.5)
    );
    assert_eq!((params.min_p, params.repeat_penalty), (0.1, 1.5));
    assert_eq!(params.penalty_window, u32::MAX);
    assert_eq!(
        (params.frequency_penalty, params.presence_penalty),
        (0.2, 0.3)
    );
    for unlimited in [0, -1, -2] {
        let job = chat(&json!({ "options": { "num_predict": unlimited } }))
            .unwrap()
            .job;
        assert_eq!(job.max_tokens, None);
    }
}

#[test]
fn a_prompt_is_a_message_or_raw_text() {
    let (messages, tools) = prompt(generate(&json!({ "system": "Be brief." })));
    let wanted = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "hi" },
    ]);
    assert_eq!((messages, tools), (wanted, None));
    let raw = generate(&json!({ "raw": true })).unwrap().job;
    assert!(!raw.chat);
    assert_eq!(raw.prompts, [PromptInput::Text("hi".to_owned())]);
}

#[test]
fn messages_and_tools_are_as_templates_take_them() {
    let function = json!({ "name": "f", "description": "d", "parameters": { "type": "object" } });
    let (messages, tools) = prompt(chat(&json!({
        "messages": [
            { "role": "user", "content": "a", "images": [] },
            { "role": "assistant", "content": "", "thinking": "t", "tool_calls": [
                { "function": { "index": 0, "name": "f", "arguments": { "x": 1 } } },
            ] },
            { "role": "tool", "tool_name": "f", "content": "2" },
        ],
        "tools": [{ "type": "function", "function": function }],
    })));
    let call = json!({ "type": "function", "function": { "name": "f", "arguments": { "x": 1 } } });
    let wanted = json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": "", "reasoning_content": "t", "tool_calls": [call] },
        { "role": "tool", "content": "2", "name": "f" },
    ]);
    assert_eq!(messages, wanted);
    assert_eq!(
        tools,
        Some(json!([{ "type": "function", "function": function }]))
    );
}

#[test]
fn an_answer_goes_on_with_a_last_message_of_the_assistant() {
    let user = json!({ "role": "user", "content": "Count" });
    let text = json!({ "role": "assistant", "content": "1, 2," });
    let goes_on = |messages: Value| {
        let request = chat(&json!({ "messages": messages }));
        request.map(|request| request.job.template.continues_last)
    };
    assert!(goes_on(json!([user, text])).unwrap());
    assert!(!goes_on(json!([user, text, user])).unwrap());
    let empty = json!({ "role": "assistant", "content": "" });
    assert!(!goes_on(json!([user, empty])).unwrap());
    assert!(!goes_on(json!([user, text, text])).unwrap());
}

#[test]
fn formats_and_thinking_are_understood() {
    let shape = |format: Value| chat(&json!({ "format": format })).unwrap().job.shape;
    assert_eq!(shape(json!("")), None);
    assert_eq!(shape(json!("json")), Some(AnswerShape::Object));
    let schema = json!({ "type": "object", "properties": {} });
    assert_eq!(shape(schema.clone()), Some(AnswerShape::Schema(schema)));
    let think = |think: Value| {
        chat(&json!({ "think": think }))
            .unwrap()
            .job
            .template
            .thinking
    };
    assert_eq!(think(json!(false)), Some(false));
    assert_eq!(think(json!("high")), Some(true));
    let logprobs = chat(&json!({ "logprobs": true, "top_logprobs": 2 })).unwrap();
    assert_eq!(logprobs.job.logprobs, Some(2));
}

#[test]
fn without_a_prompt_the_model_has_only_to_be_there() {
    for request in [
        parse_generate(br#"{"model":"m"}"#),
        parse_generate(br#"{"model":"m","prompt":"","keep_alive":0}"#),
        parse_ollama_chat(br#"{"model":"m","messages":[]}"#),
    ] {
        let request = request.unwrap();
        assert!(request.loads_only && request.job.prompts.is_empty());
    }
    assert!(!chat(&json!({})).unwrap().loads_only);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let options = |name: &str, value: Value| json!({ "options": { name: value } });
    let of_chat = [
        (json!({ "x": 1 }), "x"),
        (json!({ "format": "xml" }), "format"),
        (json!({ "think": "a lot" }), "think"),
        (json!({ "stream": "no" }), "stream"),
        (json!({ "top_logprobs": 2 }), "top_logprobs"),
        (
            json!({ "messages": [{ "role": "cook", "content": "a" }] }),
            "messages[0].role",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "a", "images": ["x"] }] }),
            "messages[0].images",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{}] }] }),
            "messages[0].tool_calls[0].function",
        ),
        (
            json!({ "tools": [{ "function": {} }] }),
            "tools[0].function.name",
        ),
        (json!({ "tools": [{ "type": "web" }] }), "tools[0].type"),
        (options("x", json!(1)), "options.x"),
        (options("mirostat", json!(2)), "options.mirostat"),
        (options("tfs_z", json!(0.5)), "options.tfs_z"),
        (options("typical_p", json!(0.5)), "options.typical_p"),
        (
            options("penalize_newline", json!(false)),
            "options.penalize_newline",
        ),
        (options("temperature", json!("hot")), "options.temperature"),
        (options("stop", json!([""])), "options.stop[0]"),
    ];
    for (more, path) in of_chat {
        let error = chat(&more).unwrap_err();
        assert_eq!(error.param(), Some(path), "{more}: {error:?}");
    }
    let of_generate = [
        (json!({ "template": "{{ .Prompt }}" }), "template"),
        (json!({ "raw": true, "suffix": "}" }), "suffix"),
        (json!({ "system": "a", "suffix": "}" }), "system"),
        (json!({ "think": true, "suffix": "}" }), "think"),
        (json!({ "think": "high", "suffix": "}" }), "think"),
        (json!({ "images": ["x"] }), "images"),
        (json!({ "context": [1, 2] }), "context"),
        (json!({ "width": 512 }), "width"),
        (json!({ "raw": true, "system": "a" }), "system"),
        (json!({ "raw": true, "think": true }), "think"),
        (json!({ "messages": [] }), "messages"),
    ];
    for (more, path) in of_generate {
        let error = generate(&more).unwrap_err();
        assert_eq!(error.param(), Some(path), "{more}: {error:?}");
    }
}

#[test]
fn a_suffix_stands_behind_what_is_generated() {
    let filled = |more: Value| {
        let request = generate(&more).unwrap();
        assert!(!request.loads_only && !request.job.chat, "{more}");
        request.job.prompts
    };
    let fill = |prefix: &str| {
        vec![PromptInput::Fill {
            prefix: prefix.into(),
            suffix: "}".into(),
        }]
    };
    assert_eq!(filled(json!({ "suffix": "}" })), fill("hi"));
    // Nothing thinks there.
    let unthinking = json!({ "suffix": "}", "think": false });
    assert_eq!(filled(unthinking), fill("hi"));
    assert!(generate(&json!({ "raw": true, "think": false })).is_ok());
    // The beginning of a file.
    assert_eq!(filled(json!({ "prompt": "", "suffix": "}" })), fill(""));
    let none = generate(&json!({ "suffix": "" })).unwrap();
    assert!(none.job.chat);
}

#[test]
fn a_model_is_asked_for_by_either_word() {
    assert_eq!(parse_show(br#"{"model":"m","verbose":true}"#).unwrap(), "m");
    assert_eq!(parse_show(br#"{"name":"m"}"#).unwrap(), "m");
    assert_eq!(parse_show(b"{}").unwrap_err().param(), Some("model"));
}
