//! The OpenAPI document says what the parser does: every bound in it is a bound of the parser.

#![allow(clippy::unwrap_used)]

use card_api::anthropic::request::parse_messages;
use card_api::llama_server::completion::NativeDefaults;
use card_api::ollama::request::{parse_generate, parse_ollama_chat};
use card_api::openai::response::error::error_body;
use card_api::{
    ApiError, document, parse_chat, parse_completion, parse_detokenize, parse_infill, parse_native,
    parse_response, parse_tokenize,
};
use serde_json::{Value, json};

type Parse = fn(&[u8]) -> Result<(), ApiError>;
type Good = Vec<(&'static str, &'static str)>;

fn chat(body: &[u8]) -> Result<(), ApiError> {
    parse_chat(body).map(drop)
}

fn completion(body: &[u8]) -> Result<(), ApiError> {
    parse_completion(body).map(drop)
}

fn response(body: &[u8]) -> Result<(), ApiError> {
    parse_response(body, &|_: &str| None).map(drop)
}

fn tokenize(body: &[u8]) -> Result<(), ApiError> {
    parse_tokenize(body).map(drop)
}

fn detokenize(body: &[u8]) -> Result<(), ApiError> {
    parse_detokenize(body).map(drop)
}

fn native(body: &[u8]) -> Result<(), ApiError> {
    parse_native(body, &NativeDefaults::default()).map(drop)
}

fn infill(body: &[u8]) -> Result<(), ApiError> {
    parse_infill(body, &NativeDefaults::default()).map(drop)
}

fn messages(body: &[u8]) -> Result<(), ApiError> {
    parse_messages(body).map(drop)
}

fn ollama_chat(body: &[u8]) -> Result<(), ApiError> {
    parse_ollama_chat(body).map(drop)
}

fn ollama_generate(body: &[u8]) -> Result<(), ApiError> {
    parse_generate(body).map(drop)
}

/// What parses, the name of its schema, and the fields of a good body of it.
fn requests() -> [(Parse, &'static str, Good); 10] {
    let message = r#"[{"role":"user","content":"a"}]"#;
    [
        (
            chat,
            "ChatRequest",
            vec![("messages", message), ("logprobs", "true")],
        ),
        (completion, "CompletionRequest", vec![("prompt", "\"a\"")]),
        (tokenize, "TokenizeFields", vec![("content", "\"a\"")]),
        (detokenize, "DetokenizeFields", vec![("tokens", "[1]")]),
        (response, "ResponseRequest", vec![("input", "\"a\"")]),
        (native, "NativeCompletion", vec![("prompt", "\"a\"")]),
        (
            infill,
            "InfillRequest",
            vec![("input_prefix", "\"a\""), ("input_suffix", "\"b\"")],
        ),
        (
            messages,
            "MessagesRequest",
            vec![("max_tokens", "9"), ("messages", message)],
        ),
        (
            ollama_chat,
            "OllamaChatRequest",
            vec![("messages", message), ("logprobs", "true")],
        ),
        (
            ollama_generate,
            "OllamaGenerateRequest",
            vec![("prompt", "\"a\""), ("logprobs", "true")],
        ),
    ]
}

/// A good body, but for one field.
fn body(good: &[(&str, &str)], field: &str, value: &str) -> Vec<u8> {
    let rest = good.iter().filter(|(name, _)| *name != field);
    let rest: Vec<String> = rest.map(|(n, v)| format!("\"{n}\":{v}")).collect();
    let mut fields = vec![format!("\"{field}\":{value}")];
    fields.extend(rest);
    format!("{{{}}}", fields.join(",")).into_bytes()
}

/// A schema without its references, and each of its alternatives.
fn alternatives(document: &Value, schema: &Value) -> Vec<Value> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = document.pointer(name.trim_start_matches('#')).unwrap();
        return alternatives(document, schema);
    }
    match schema["anyOf"].as_array() {
        Some(any) => any.iter().flat_map(|s| alternatives(document, s)).collect(),
        None => vec![schema.clone()],
    }
}

fn is(schema: &Value, kind: &str) -> bool {
    let kinds = &schema["type"];
    kinds == kind || kinds.as_array().is_some_and(|k| k.contains(&json!(kind)))
}

/// The least there is of a schema.
fn least(document: &Value, schema: &Value) -> String {
    let schema = &alternatives(document, schema)[0];
    if is(schema, "string") {
        let length = schema["minLength"].as_u64().unwrap_or(0) as usize;
        return format!("{:?}", "a".repeat(length));
    }
    if is(schema, "array") {
        return match schema["minItems"].as_u64() {
            Some(1..) => format!("[{}]", least(document, &schema["items"])),
            _ => "[]".to_owned(),
        };
    }
    if is(schema, "object") {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let fields = required.iter().map(|name| {
            let field = &schema["properties"][name.as_str().unwrap()];
            format!("{name}:{}", least(document, field))
        });
        return format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    }
    schema["minimum"].to_string()
}

fn many(each: impl Fn(usize) -> String, count: usize) -> String {
    (0..count).map(each).collect::<Vec<_>>().join(",")
}

/// Values at a bound of the schema, and beyond it.
fn bounds(document: &Value, schema: &Value) -> (Vec<String>, Vec<String>) {
    let (mut within, mut beyond) = (Vec::new(), Vec::new());
    for (key, step) in [("minimum", -1), ("maximum", 1)] {
        if let Some(bound) = schema[key].as_number() {
            within.push(bound.to_string());
            beyond.push(match bound.as_i128() {
                Some(bound) => (bound + step).to_string(),
                None => (bound.as_f64().unwrap() + step as f64).to_string(),
            });
        }
    }
    if schema["exclusiveMinimum"].is_number() {
        beyond.push(schema["exclusiveMinimum"].to_string());
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        within.push(format!("{:?}", "a".repeat(most as usize)));
        beyond.push(format!("{:?}", "a".repeat(most as usize + 1)));
    }
    if schema["minLength"].as_u64() == Some(1) {
        beyond.push("\"\"".to_owned());
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        let item = least(document, &schema["items"]);
        let each = |_: usize| item.clone();
        within.push(format!("[{}]", many(each, most as usize)));
        beyond.push(format!("[{}]", many(each, most as usize + 1)));
    }
    if let Some(most) = schema["maxProperties"].as_u64() {
        let value = least(document, &schema["additionalProperties"]);
        let each = |i: usize| format!("\"{i}\":{value}");
        within.push(format!("{{{}}}", many(each, most as usize)));
        beyond.push(format!("{{{}}}", many(each, most as usize + 1)));
    }
    (within, beyond)
}

#[test]
fn every_bound_in_the_document_is_one_of_the_parser() {
    let document = document::document("card", "0");
    let mut found = 0;
    for (parse, name, good) in requests() {
        let fields = &document["components"]["schemas"][name]["properties"];
        for (field, schema) in fields.as_object().unwrap() {
            for schema in alternatives(&document, schema) {
                let (within, beyond) = bounds(&document, &schema);
                found += beyond.len();
                for value in within {
                    let refused = parse(&body(&good, field, &value)).err();
                    // What is as many as there may be can be wrong for another reason.
                    let counted = refused.filter(|e| {
                        !value.starts_with(['[', '{']) || e.message().contains("more than")
                    });
                    let shown = value.get(..40).unwrap_or(&value);
                    assert!(counted.is_none(), "{name}.{field} {shown}: {counted:?}");
                }
                for value in beyond {
                    let shown = value.get(..40).unwrap_or(&value).to_owned();
                    let refused = parse(&body(&good, field, &value)).err();
                    let param = refused.as_ref().and_then(|e| e.param()).unwrap_or_default();
                    assert!(
                        param.starts_with(field.as_str()),
                        "{name}.{field} {shown}: {refused:?}"
                    );
                }
            }
        }
    }
    assert!(found > 30, "only {found} bounds in the document");
}

#[test]
fn the_examples_in_the_document_parse() {
    let document = document::document("card", "0");
    for (parse, path) in [
        (requests()[0].0, "/v1/chat/completions"),
        (requests()[1].0, "/v1/completions"),
        (requests()[2].0, "/tokenize"),
        (requests()[3].0, "/detokenize"),
        (requests()[4].0, "/v1/responses"),
        (requests()[5].0, "/completion"),
        (requests()[6].0, "/infill"),
        (requests()[7].0, "/v1/messages"),
        (requests()[8].0, "/api/chat"),
        (requests()[9].0, "/api/generate"),
    ] {
        let content = &document["paths"][path]["post"]["requestBody"]["content"];
        let example = content["application/json"]["example"].to_string();
        assert_eq!(parse(example.as_bytes()), Ok(()), "{path}");
    }
}

/// Everything that is referred to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(name)) = fields.get("$ref") {
                found.push(name.clone());
            }
            fields.values().for_each(|v| references(v, found));
        }
        Value::Array(values) => values.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

#[test]
fn the_document_refers_to_nothing_that_is_not_in_it() {
    let document = document::document("card", "0.1");
    assert_eq!(document["info"]["title"], "card");
    assert_eq!(document["info"]["version"], "0.1");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for name in found {
        let there = document.pointer(name.strip_prefix('#').unwrap());
        assert!(there.is_some(), "{name}");
    }
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/models",
        "/v1/models/{name}",
        "/tokenize",
        "/detokenize",
        "/completion",
        "/completions",
        "/infill",
        "/apply-template",
        "/chat/completions",
        "/chat/completions/input_tokens",
        "/models",
        "/props",
        "/slots",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/api/chat",
        "/api/generate",
        "/v1/health",
        "/health",
        "/metrics",
        "/live",
        "/openapi.json",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
}

#[test]
fn errors_are_as_the_document_has_them() {
    let document = document::document("card", "0");
    let errors = [
        ApiError::invalid("x"),
        ApiError::field("n", "x"),
        ApiError::schema("n", "x"),
        ApiError::too_long("prompt", "x"),
        ApiError::too_large(1),
        ApiError::slow_body(),
        ApiError::headers_too_large(),
        ApiError::wrong_content_type(),
        ApiError::unauthorized(),
        ApiError::foreign_host("x"),
        ApiError::foreign_origin(),
        ApiError::not_found("x"),
        ApiError::method("x"),
        ApiError::busy(1),
        ApiError::draining(),
        ApiError::engine_gone("x"),
        ApiError::timeout(1),
        ApiError::internal("x"),
    ];
    let chat = &document["paths"]["/v1/chat/completions"]["post"]["responses"];
    let object = &document["components"]["schemas"]["ErrorObject"];
    for error in errors {
        let status = error.status.as_u16().to_string();
        assert!(chat.get(&status).is_some(), "{status}");
        let body = error_body(&error);
        for name in object["required"].as_array().unwrap() {
            let value = body["error"].get(name.as_str().unwrap());
            assert!(value.is_some(), "{name} of {body}");
        }
    }
}
