#![allow(clippy::unwrap_used)]

use card_core::sampler::Bias;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::chat::Chat;
use super::common::{Common, StreamOptions};
use super::completion::Completion;
use super::prediction::PredictionField;
use super::reasoning::{ChatReasoning, ChatThinking};
use super::response_format::{NamedSchema, ResponseFormat};
use super::responses::{Response, TextOptions};
use super::structured::StructuredOutputs;
use super::tool::{Function, Tool};
use super::{parse_chat, parse_completion};
use crate::error::ApiError;
use crate::job::{AnswerShape, CallForm, GenerationJob, PromptInput, Speculation, TemplateOptions};

pub(super) fn chat(extra: &str) -> Result<GenerationJob, ApiError> {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{extra}}}"#);
    parse_chat(body.as_bytes())
}

fn completion(prompt: &str) -> Result<GenerationJob, ApiError> {
    parse_completion(format!(r#"{{"prompt":{prompt}}}"#).as_bytes())
}

/// The field that is named, and the message.
pub(super) fn refusal(result: Result<GenerationJob, ApiError>) -> (String, String) {
    let error = result.unwrap_err();
    assert_eq!(error.status.as_u16(), 400);
    let param = error.param().unwrap_or_default().to_owned();
    (param, error.message().to_owned())
}

#[test]
fn unknown_fields_are_ignored_and_counted() {
    let job = chat(r#","user":"me","store":true,"service_tier":"auto","max_tokens":5"#).unwrap();
    assert_eq!((job.max_tokens, job.n, job.stream), (Some(5), 1, false));
    assert_eq!(job.unknown, 3);
}

#[test]
fn the_document_and_the_parser_know_the_same_fields() {
    fn fields<T: JsonSchema>() -> Vec<String> {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        let fields = schema.get("properties").and_then(Value::as_object);
        fields.map_or(Vec::new(), |f| f.keys().cloned().collect())
    }
    assert_eq!(fields::<Common>(), Common::NAMES);
    assert_eq!(fields::<Chat>(), Chat::NAMES);
    assert_eq!(fields::<Completion>(), Completion::NAMES);
    assert_eq!(fields::<StreamOptions>(), StreamOptions::NAMES);
    assert_eq!(fields::<PredictionField>(), PredictionField::NAMES);
    assert_eq!(fields::<ResponseFormat>(), ResponseFormat::NAMES);
    assert_eq!(fields::<NamedSchema>(), NamedSchema::NAMES);
    assert_eq!(fields::<Tool>(), Tool::NAMES);
    assert_eq!(fields::<Function>(), Function::NAMES);
    assert_eq!(fields::<StructuredOutputs>(), StructuredOutputs::NAMES);
    assert_eq!(fields::<Response>(), Response::NAMES);
    assert_eq!(fields::<TextOptions>(), TextOptions::NAMES);
    assert_eq!(fields::<ChatReasoning>(), ChatReasoning::NAMES);
    assert_eq!(fields::<ChatThinking>(), ChatThinking::NAMES);
}

#[test]
fn wrong_fields_are_named_with_their_paths() {
    let cases = [
        (r#","temperature":"hot""#, "temperature"),
        (r#","temperature":-1"#, "temperature"),
        (r#","temperature":1e999"#, "temperature"),
        (r#","top_p":0"#, "top_p"),
        (r#","top_p":1e-60"#, "top_p"),
        (r#","repeat_penalty":-1"#, "repeat_penalty"),
        (r#","n":0"#, "n"),
        (r#","n":1.5"#, "n"),
        (r#","max_tokens":0"#, "max_tokens"),
        (r#","max_tokens":-3"#, "max_tokens"),
        (r#","logit_bias":{"x":1}"#, "logit_bias"),
        (r#","logit_bias":{"+1":1}"#, "logit_bias"),
        (r#","logit_bias":{"2147483648":1}"#, "logit_bias"),
        (r#","logit_bias":{"1":1000}"#, "logit_bias.1"),
        (r#","logit_bias":[]"#, "logit_bias"),
        (r#","top_logprobs":3"#, "top_logprobs"),
        (r#","logprobs":true,"top_logprobs":50"#, "top_logprobs"),
        (
            r#","response_format":{"type":"xml"}"#,
            "response_format.type",
        ),
        (
            r#","response_format":{"type":"json_schema"}"#,
            "response_format.json_schema.schema",
        ),
        (
            r#","prediction":{"type":"image","content":""}"#,
            "prediction.type",
        ),
        (r#","prediction":{"content":3}"#, "prediction.content"),
        (r#","prediction":{}"#, "prediction.content"),
        (r#","tool_choice":"required""#, "tool_choice"),
        (r#","tools":[],"tool_choice":"required""#, "tool_choice"),
        (
            r#","tool_choice":{"function":{"name":1}}"#,
            "tool_choice.function.name",
        ),
        (r#","tools":[{"type":"function"}]"#, "tools[0].function"),
        (
            r#","tools":[{"type":"function","function":{}}]"#,
            "tools[0].function.name",
        ),
        (r#","tools":[{"type":"web"}]"#, "tools[0].type"),
        (r#","stop":[1]"#, "stop[0]"),
        (r#","stop":"""#, "stop"),
        (r#","stop":["a",""]"#, "stop[1]"),
        (r#","stream":"yes""#, "stream"),
        (r#","stream_options":[true]"#, "stream_options"),
        (r#","seed":0.5"#, "seed"),
    ];
    for (extra, field) in cases {
        let (param, message) = refusal(chat(extra));
        assert_eq!(param, field, "{extra}: {message}");
    }
}

#[test]
fn wrong_messages_are_named_with_their_paths() {
    let messages = [
        ("[]", "messages"),
        ("[{}]", "messages[0].role"),
        (r#"[{"role":"user"}]"#, "messages[0].content"),
        (
            r#"[{"role":"user","content":"a"},{"role":1}]"#,
            "messages[1].role",
        ),
        (r#"[{"role":"user","content":7}]"#, "messages[0].content"),
        (
            r#"[{"role":"user","content":[{"type":"image_url"}]}]"#,
            "messages[0].content[0]",
        ),
        (
            r#"[{"role":"user","content":[{"text":"a"},{"text":1}]}]"#,
            "messages[0].content[1].text",
        ),
        (
            r#"[{"role":"assistant","tool_calls":1}]"#,
            "messages[0].tool_calls",
        ),
        ("[1]", "messages[0]"),
        ("{}", "messages"),
    ];
    for (messages, field) in messages {
        let body = format!(r#"{{"messages":{messages}}}"#);
        let (param, message) = refusal(parse_chat(body.as_bytes()));
        assert_eq!(param, field, "{messages}: {message}");
    }
    assert_eq!(refusal(parse_chat(br#"{"model":"x"}"#)).0, "messages");
}

#[test]
fn what_is_no_request_is_refused_with_a_message() {
    for body in [
        &b"{"[..],
        b"[]",
        b"null",
        b"\xff",
        b"",
        b"{}}",
        b"{\"a\":\"\\ud800\"}",
    ] {
        let chat = refusal(parse_chat(body));
        let completion = refusal(parse_completion(body));
        assert!(!chat.1.is_empty() && !completion.1.is_empty());
    }
}

#[test]
fn prompts_come_in_four_ways() {
    let parse = |p: &str| completion(p).unwrap();
    assert_eq!(parse(r#""a""#).prompts, [PromptInput::Text("a".into())]);
    assert_eq!(parse("[1,2]").prompts, [PromptInput::Tokens(vec![1, 2])]);
    assert_eq!(parse(r#"["a","b"]"#).prompts.len(), 2);
    assert_eq!(parse("[[1],[2]]").prompts.len(), 2);
    assert_eq!(parse(r#""a""#).max_tokens, Some(16));
    for (wrong, field) in [
        ("[]", "prompt"),
        ("[[]]", "prompt[0]"),
        ("[1,\"a\"]", "prompt"),
        ("[[1],2]", "prompt"),
        ("[1,-1]", "prompt[1]"),
        ("[[1],[2147483648]]", "prompt[1][0]"),
        ("{}", "prompt"),
        ("7", "prompt"),
    ] {
        assert_eq!(refusal(completion(wrong)).0, field, "{wrong}");
    }
    assert_eq!(refusal(parse_completion(b"{}")).0, "prompt");
}

#[test]
fn answers_are_bounded_together() {
    let prompts = |count: usize| format!("[{}]", vec!["\"a\""; count].join(","));
    assert_eq!(completion(&prompts(64)).unwrap().prompts.len(), 64);
    assert_eq!(refusal(completion(&prompts(65))).0, "prompt");
    let many = |count: usize, n: u32| {
        let body = format!(r#"{{"prompt":{},"n":{n}}}"#, prompts(count));
        parse_completion(body.as_bytes())
    };
    assert!(many(4, 16).is_ok() && many(32, 2).is_ok());
    assert_eq!(refusal(many(5, 16)).0, "n");
    assert_eq!(refusal(many(33, 2)).0, "n");
    assert_eq!(refusal(many(1, 17)).0, "n");
}

#[test]
fn biases_are_bans_commands_or_numbers() {
    let job = chat(r#","logit_bias":{"5":-100,"6":100,"7":0.5,"8":-99.5,"7":2}"#).unwrap();
    let mut biases: Vec<(u32, Bias)> = job.params.logit_bias.iter().collect();
    biases.sort_by_key(|b| b.0);
    assert_eq!(biases[0], (5, Bias::Ban));
    let shifts: Vec<f32> = biases.iter().map(|b| b.1.shift()).collect();
    assert_eq!(shifts, [f32::NEG_INFINITY, 1e4, 2.0, -99.5]);
}

#[test]
fn what_other_servers_clients_send_is_understood() {
    let job = chat(r#","max_tokens":-1,"top_k":-1,"seed":-1,"n":1.0"#).unwrap();
    assert_eq!(
        (job.max_tokens, job.params.top_k, job.seed),
        (None, 0, None)
    );
    let job = chat(r#","max_tokens":3,"max_completion_tokens":4.0,"stop":null"#).unwrap();
    assert_eq!(job.max_tokens, Some(4));
    assert!(job.stop.is_empty());
    let body = br#"{"prompt":"a","max_tokens":-1,"seed":18446744073709551615}"#;
    let job = parse_completion(body).unwrap();
    assert_eq!((job.max_tokens, job.seed), (None, Some(u64::MAX)));
}

#[test]
fn messages_are_as_templates_take_them() {
    let body = br#"{"messages":[
        {"role":"developer","content":"s","name":null},
        {"role":"user","content":[{"type":"text","text":"a"},{"text":"b"}],"name":"me"},
        {"role":"assistant","content":null,"tool_calls":[
            {"id":"c","function":{"name":"f","arguments":"{\"a\":[1]}"}},
            {"id":"d","function":{"name":"f","arguments":"no JSON"}}]},
        {"role":"tool","tool_call_id":"c","content":"1"}]}"#;
    let job = parse_chat(body).unwrap();
    let wanted = json!([
        { "role": "system", "content": "s" },
        { "role": "user", "content": "a\nb", "name": "me" },
        { "role": "assistant", "content": "", "tool_calls": [
            { "id": "c", "function": { "name": "f", "arguments": { "a": [1] } } },
            { "id": "d", "function": { "name": "f", "arguments": "no JSON" } }] },
        { "role": "tool", "tool_call_id": "c", "content": "1" },
    ]);
    let PromptInput::Chat { messages, tools } = &job.prompts[0] else {
        panic!("a chat");
    };
    assert_eq!(messages, &wanted);
    assert!(tools.is_none());
}

#[test]
fn messages_without_text_and_lists_without_members_are_taken() {
    let body = br#"{"messages":[
        {"role":"user","content":[]},
        {"role":"user","content":[{"text":""},{"text":"a"},{"text":"b"}]},
        {"role":"assistant","content":null},
        {"role":"assistant","content":[{"type":"refusal","refusal":"no"}]},
        {"role":"tool","tool_call_id":"c","content":[{"type":"text","text":"1"}]}],"tools":[]}"#;
    let job = parse_chat(body).unwrap();
    let PromptInput::Chat { messages, tools } = &job.prompts[0] else {
        panic!("a chat");
    };
    let texts = messages.as_array().unwrap().iter().map(|m| &m["content"]);
    assert_eq!(texts.collect::<Vec<_>>(), ["", "a\nb", "", "no", "1"]);
    assert!(tools.is_none() && !job.tools);
}

#[test]
fn parts_of_a_prediction_are_one_text() {
    let parts = r#"[{"type":"text","text":"fn f"},{"type":"text","text":"() {}\n"}]"#;
    let job = chat(&format!(
        r#","prediction":{{"type":"content","content":{parts}}}"#
    ));
    assert_eq!(job.unwrap().prediction, "fn f() {}\n");
}

#[test]
fn a_forced_tool_is_a_shape() {
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    let tools = format!(r#","tools":[{tool}]"#);
    let job = chat(&format!(r#"{tools},"tool_choice":"required""#)).unwrap();
    let object = json!({ "type": "object" });
    assert_eq!(
        job.shape,
        Some(AnswerShape::Call(vec![("f".into(), object)]))
    );
    let PromptInput::Chat {
        tools: Some(told), ..
    } = &job.prompts[0]
    else {
        panic!("a chat with tools");
    };
    assert_eq!(told, &json!([tool]));
    let job = chat(&format!(r#"{tools},"tool_choice":"none""#)).unwrap();
    assert!(!job.tools && job.shape.is_none());
    let named = |name: &str| {
        chat(&format!(
            r#"{tools},"tool_choice":{{"type":"function","function":{{"name":"{name}"}}}}"#
        ))
    };
    assert!(named("f").unwrap().shape.is_some());
    assert_eq!(refusal(named("g")).0, "tool_choice");
    assert_eq!(
        refusal(chat(&format!(r#"{tools},"tool_choice":"any""#))).0,
        "tool_choice"
    );
}

#[test]
fn a_forced_call_stands_beside_no_other_shape() {
    let tools = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;
    let functions = r#","functions":[{"name":"f"}]"#;
    let shapes = [
        (r#","grammar":"root ::= \"a\"""#, "grammar"),
        (r#","json_schema":{"type":"object"}"#, "json_schema"),
        (r#","guided_json":{"type":"object"}"#, "guided_json"),
        (
            r#","response_format":{"type":"json_object"}"#,
            "response_format.type",
        ),
    ];
    for (shape, field) in shapes {
        for forced in [
            format!(r#"{tools},"tool_choice":"required""#),
            format!(r#"{tools},"tool_choice":{{"type":"function","function":{{"name":"f"}}}}"#),
            format!(r#"{functions},"function_call":{{"name":"f"}}"#),
        ] {
            let (param, message) = refusal(chat(&format!("{forced}{shape}")));
            assert_eq!(param, field, "{forced}{shape}");
            assert!(message.contains("leave one of them out"), "{message}");
        }
        let free = chat(&format!(r#"{tools},"tool_choice":"auto"{shape}"#)).unwrap();
        assert!(free.shape.is_some() && free.tools);
    }
    let text = r#","response_format":{"type":"text"}"#;
    assert!(chat(&format!(r#"{tools},"tool_choice":"required"{text}"#)).is_ok());
}

#[test]
fn a_schema_is_one_wherever_it_stands() {
    let schema = r#"{"enum":["yes","no"]}"#;
    for (extra, field) in [
        (
            format!(r#","response_format":{{"type":"json_object","schema":{schema}}}"#),
            "response_format.schema",
        ),
        (
            format!(r#","response_format":{{"type":"json_schema","schema":{schema}}}"#),
            "response_format.schema",
        ),
        (
            format!(
                r#","response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}"#
            ),
            "response_format.json_schema.schema",
        ),
        (format!(r#","json_schema":{schema}"#), "json_schema"),
        (format!(r#","guided_json":{schema}"#), "guided_json"),
        (
            format!(r#","structured_outputs":{{"json":{schema}}}"#),
            "structured_outputs.json",
        ),
    ] {
        let job = chat(&extra).unwrap();
        let wanted = AnswerShape::Schema(json!({ "enum": ["yes", "no"] }));
        assert_eq!(
            (job.shape, job.shape_field),
            (Some(wanted), field),
            "{extra}"
        );
    }
}

#[test]
fn llama_server_s_grammar_is_one_too() {
    let job = chat(r#","grammar":"root ::= \"a\"{5,5}""#).unwrap();
    assert!(matches!(job.shape, Some(AnswerShape::Lark(_))));
    assert_eq!(job.shape_field, "grammar");
    assert_eq!(chat(r#","grammar":" ""#).unwrap().shape, None);
    let text = parse_completion(br#"{"prompt":"a","grammar":"root ::= \"b\"","n_predict":3}"#);
    let text = text.unwrap();
    assert!(text.shape.is_some());
    assert_eq!(text.max_tokens, Some(3));
}

#[test]
fn llama_server_s_clients_hear_of_times_in_streams() {
    let asked = r#","return_progress":true,"timings_per_token":true"#;
    let told = chat(&format!(r#"{asked},"stream":true"#)).unwrap().llama;
    assert!(told.progress && told.timings_per_token && !told.tokens);
    let whole = chat(asked).unwrap().llama;
    assert!(!whole.progress && !whole.timings_per_token);
}

#[test]
fn the_template_hears_what_the_client_says_of_it() {
    let template = |extra: &str| chat(extra).unwrap().template;
    assert_eq!(template(""), TemplateOptions::default());
    let asked = template(
        r#","reasoning_effort":"high","chat_template_kwargs":{"enable_thinking":false},
           "add_generation_prompt":false"#,
    );
    assert_eq!((asked.thinking, asked.begins_answer), (None, false));
    assert_eq!(asked.effort.as_deref(), Some("high"));
    assert_eq!(asked.variables["enable_thinking"], false);
    let none = template(r#","reasoning_effort":"none""#);
    assert_eq!((none.thinking, none.effort), (Some(false), None));
    let many: Vec<String> = (0..65).map(|i| format!("\"v{i}\":1")).collect();
    let many = format!(r#","chat_template_kwargs":{{{}}}"#, many.join(","));
    assert_eq!(refusal(chat(&many)).0, "chat_template_kwargs");
}

#[test]
fn speculation_is_switched_by_the_request() {
    let switch = |extra: &str| chat(extra).unwrap().speculation;
    assert_eq!(switch(""), Speculation::Auto);
    assert_eq!(switch(r#","speculation":"auto""#), Speculation::Auto);
    assert_eq!(switch(r#","speculation":"off""#), Speculation::Off);
    assert_eq!(
        switch(r#","speculation":{"max_rows":3}"#),
        Speculation::Most(3)
    );
    assert!(chat(r#","card":true"#).unwrap().report);
}

#[test]
fn functions_are_tools_in_older_words() {
    let function = json!({ "name": "f", "parameters": { "type": "object" } });
    let job = chat(&format!(
        r#","functions":[{function}],"function_call":{{"name":"f"}}"#
    ));
    let job = job.unwrap();
    assert_eq!(job.call_form, CallForm::Function);
    assert!(job.tools && job.shape.is_some());
    assert_eq!(&*job.stop, ["</tool_call>".to_owned()]);
    let job = chat(&format!(
        r#","functions":[{function}],"function_call":"none""#
    ))
    .unwrap();
    assert!(!job.tools && job.shape.is_none());
    for (extra, field) in [
        (r#","functions":[{}]"#, "functions[0].name"),
        (r#","function_call":{"name":"g"}"#, "function_call"),
        (r#","functions":[],"tools":[]"#, "functions"),
    ] {
        assert_eq!(refusal(chat(extra)).0, field, "{extra}");
    }
    let body = br#"{"messages":[
        {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{\"a\":1}"}},
        {"role":"function","name":"f","content":"1"}]}"#;
    let job = parse_chat(body).unwrap();
    let PromptInput::Chat { messages, .. } = &job.prompts[0] else {
        panic!("a chat");
    };
    let call = json!({ "type": "function", "function": { "name": "f", "arguments": { "a": 1 } } });
    assert_eq!(messages[0]["tool_calls"], json!([call]));
    assert_eq!(messages[1]["role"], "tool");
}

#[test]
fn one_call_at_most_ends_the_text_at_its_end() {
    let tools = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;
    let stops = |extra: &str| chat(&format!("{tools}{extra}")).unwrap().stop.len();
    assert_eq!(stops(""), 0);
    assert_eq!(stops(r#","parallel_tool_calls":true"#), 0);
    assert_eq!(stops(r#","parallel_tool_calls":false"#), 1);
    assert_eq!(
        stops(r#","parallel_tool_calls":false,"tool_choice":"none""#),
        0
    );
}

#[test]
fn thoughts_have_a_budget() {
    let budget = |extra: &str| chat(extra).unwrap().thinking_budget;
    assert_eq!(budget(""), None);
    assert_eq!(budget(r#","thinking_budget_tokens":0"#), Some(0));
    assert_eq!(budget(r#","reasoning_budget_tokens":512"#), Some(512));
    assert_eq!(budget(r#","thinking_budget_tokens":-1"#), None);
    assert!(chat(r#","thinking_budget_tokens":-2"#).is_err());
}

#[test]
fn a_suffix_makes_a_prompt_to_be_filled_in() {
    let parse = |fields: &str| parse_completion(format!("{{{fields}}}").as_bytes());
    let job = parse(r#""prompt":"a","suffix":"b""#).unwrap();
    let fill = PromptInput::Fill {
        prefix: "a".into(),
        suffix: "b".into(),
    };
    assert_eq!(job.prompts, [fill]);
    let job = parse(r#""prompt":"a","suffix":"""#).unwrap();
    assert_eq!(job.prompts, [PromptInput::Text("a".into())]);
    assert_eq!(refusal(parse(r#""prompt":[1],"suffix":"b""#)).0, "suffix");
    let echo = r#""prompt":"a","suffix":"b","echo":true"#;
    assert_eq!(refusal(parse(echo)).0, "echo");
}

#[test]
fn a_text_of_nothing_is_an_answer_where_the_prompt_is_repeated() {
    let parse = |fields: &str| parse_completion(format!(r#"{{"prompt":"a",{fields}}}"#).as_bytes());
    let job = parse(r#""max_tokens":0,"echo":true,"logprobs":1"#).unwrap();
    assert_eq!((job.max_tokens, job.scores_prompt()), (Some(0), true));
    assert!(!parse(r#""echo":true"#).unwrap().scores_prompt());
    assert_eq!(refusal(parse(r#""max_tokens":0"#)).0, "max_tokens");
    assert_eq!(
        refusal(parse(r#""max_tokens":0,"logprobs":1"#)).0,
        "max_tokens"
    );
}
