//! Schemas that real sets of tools send: each holds, or is refused with what it is.

use card_api::AnswerShape;
use serde_json::{Value, json};

use super::frame::AnswerFrame;
use super::frame_tests::takes;

fn holds(schema: &Value, text: &str) -> Result<bool, String> {
    let shape = AnswerShape::Schema(schema.clone());
    takes(&shape, &AnswerFrame::default(), text)
}

/// An object of these properties and no others.
fn closed(properties: Value, required: Value) -> Value {
    json!({ "type": "object", "properties": properties, "required": required,
            "additionalProperties": false })
}

/// Whether each schema takes the first text and refuses the second one.
fn each_holds(
    cases: impl IntoIterator<Item = (Value, &'static str, &'static str)>,
) -> Result<(), String> {
    for (schema, taken, refused) in cases {
        assert!(holds(&schema, taken)?, "{schema}: {taken}");
        assert!(!holds(&schema, refused)?, "{schema}: {refused}");
    }
    Ok(())
}

#[test]
fn what_tools_send_holds() -> Result<(), String> {
    each_holds([
        (
            json!({ "type": "string", "pattern": "\\S" }),
            "\" a \"",
            "\"  \"",
        ),
        (
            json!({ "type": "string", "maxLength": 65536 }),
            "\"a\"",
            "1",
        ),
        (json!({ "type": "object", "properties": {} }), "{}", "[]"),
        (
            json!({ "oneOf": [{ "type": "string" }, { "type": "integer" }] }),
            "7",
            "true",
        ),
        (
            json!({ "type": "object", "patternProperties": { "^n_": { "type": "integer" } },
                    "additionalProperties": false }),
            "{\"n_a\": 1}",
            "{\"x\": 1}",
        ),
        (
            closed(
                json!({ "雲": { "enum": ["曇り", "晴れ 🌞"] } }),
                json!(["雲"]),
            ),
            "{\"雲\": \"晴れ 🌞\"}",
            "{\"雲\": \"雨\"}",
        ),
        (
            json!({ "type": "string", "format": "date-time" }),
            "\"2026-01-31T12:00:00Z\"",
            "\"soon\"",
        ),
        (json!({ "const": null }), "null", "1"),
        (
            json!({ "type": "number", "multipleOf": 0.01 }),
            "0.25",
            "\"a\"",
        ),
    ])
}

#[test]
fn definitions_and_objects_in_objects_hold() -> Result<(), String> {
    let inner = closed(
        json!({ "b": { "type": "string", "pattern": "^x+$" } }),
        json!(["b"]),
    );
    let cat = closed(
        json!({ "kind": { "const": "cat" }, "lives": { "type": "integer" } }),
        json!(["kind", "lives"]),
    );
    let dog = closed(
        json!({ "kind": { "const": "dog" }, "nice": { "type": "boolean" } }),
        json!(["kind", "nice"]),
    );
    let union = json!({
        "$defs": { "Cat": cat, "Dog": dog },
        "discriminator": { "propertyName": "kind",
                           "mapping": { "cat": "#/$defs/Cat", "dog": "#/$defs/Dog" } },
        "oneOf": [{ "$ref": "#/$defs/Cat" }, { "$ref": "#/$defs/Dog" }],
    });
    let tree = json!({
        "$defs": { "Node": closed(
            json!({ "left": { "anyOf": [{ "$ref": "#/$defs/Node" }, { "type": "null" }] },
                    "v": { "type": "string" } }),
            json!(["left", "v"]),
        ) },
        "$ref": "#/$defs/Node",
    });
    each_holds([
        (
            closed(json!({ "a": inner }), json!(["a"])),
            "{\"a\": {\"b\": \"xx\"}}",
            "{\"a\": {\"b\": \"y\"}}",
        ),
        (
            union,
            "{\"kind\": \"dog\", \"nice\": true}",
            "{\"kind\": \"dog\", \"lives\": 9}",
        ),
        (
            tree,
            "{\"left\": {\"left\": null, \"v\": \"a\"}, \"v\": \"b\"}",
            "{\"left\": {}, \"v\": \"b\"}",
        ),
    ])
}

#[test]
fn what_cannot_hold_is_refused_with_its_keyword() {
    let text = json!({ "type": "string" });
    for (schema, keyword) in [
        (json!({ "type": "integer", "not": { "const": 1 } }), "not"),
        (json!({ "type": "object", "if": text, "then": text }), "if"),
        (
            json!({ "type": "object", "dependentRequired": { "a": ["b"] } }),
            "dependentRequired",
        ),
        (
            json!({ "type": "array", "items": text, "uniqueItems": true }),
            "uniqueItems",
        ),
        (
            json!({ "oneOf": [{ "type": "string", "minLength": 1 },
                              { "type": "string", "maxLength": 5 }] }),
            "oneOf",
        ),
        (json!({ "$ref": "https://example.com/schema.json" }), ""),
        (json!({ "type": "string", "pattern": "^(?=a)b" }), ""),
    ] {
        let Err(why) = holds(&schema, "") else {
            panic!("{schema} is taken");
        };
        assert!(why.contains(keyword), "{schema}: {why}");
    }
}
