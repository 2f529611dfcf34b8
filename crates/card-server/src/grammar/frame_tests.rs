//! What may stand around a text of some shape, and what may not.

use card_api::AnswerShape;
use card_core::constraint::allows;
use card_core::types::Token;
use serde_json::json;

use super::Grammars;
use super::frame::{AnswerFrame, ThoughtFrame};
use crate::testing::ByteTokenizer;
use crate::text::Tokenizer;

/// Whether the grammar of this shape in this frame takes the whole text, and lets it end there.
pub(super) fn takes(shape: &AnswerShape, frame: &AnswerFrame, text: &str) -> Result<bool, String> {
    let grammars = Grammars::new(std::sync::Arc::new(ByteTokenizer));
    let compiled = grammars.compile(shape, frame, "shape");
    let compiled = compiled.map_err(|error| error.message().to_owned())?;
    let mut constraint = compiled.constraint();
    for token in ByteTokenizer.tokenize(text, true)? {
        if !allows(constraint.allowed()?, token) {
            return Ok(false);
        }
        constraint.wrote(token)?;
    }
    let end = ByteTokenizer.end_tokens()[0];
    Ok(allows(constraint.allowed()?, end))
}

fn age() -> AnswerShape {
    AnswerShape::Schema(json!({
        "type": "object",
        "properties": { "age": { "type": "integer" } },
        "required": ["age"],
        "additionalProperties": false,
    }))
}

fn thinking(open: Option<&'static str>) -> AnswerFrame {
    AnswerFrame {
        thoughts: Some(ThoughtFrame {
            open,
            close: "</think>",
        }),
        ..AnswerFrame::default()
    }
}

#[test]
fn a_shape_begins_behind_the_thoughts() -> Result<(), String> {
    let lark = AnswerShape::Lark("start: \"{\\\"age\\\": 41}\"".to_owned());
    for shape in [age(), AnswerShape::Object, lark] {
        for (open, text, taken) in [
            (None, "hm </thin </think>\n\n{\"age\": 41}", true),
            (None, "</think>{\"age\": 41}", true),
            (None, "{\"age\": 41}", false),
            (None, "hm</think>yes", false),
            (Some("<think>"), "<think>\nhm</think>{\"age\": 41}", true),
            (Some("<think>"), "{\"age\": 41}", true),
            (Some("<think>"), "hm</think>{\"age\": 41}", false),
        ] {
            assert_eq!(
                takes(&shape, &thinking(open), text)?,
                taken,
                "{open:?} {text}"
            );
        }
    }
    Ok(())
}

#[test]
fn marks_that_are_control_tokens_stand_as_such() -> Result<(), String> {
    let frame = AnswerFrame {
        thoughts: Some(ThoughtFrame {
            open: Some("<|im_start|>analysis\n"),
            close: "<|im_start|>final\n",
        }),
        answer_open: "<|im_start|>final\n",
        ..AnswerFrame::default()
    };
    for (text, taken) in [
        (
            "<|im_start|>analysis\nhm<|im_start|>final\n{\"age\": 41}",
            true,
        ),
        ("<|im_start|>final\n{\"age\": 41}", true),
        ("{\"age\": 41}", false),
    ] {
        assert_eq!(takes(&age(), &frame, text)?, taken, "{text}");
    }
    Ok(())
}

#[test]
fn a_call_may_stand_in_place_of_a_shape() -> Result<(), String> {
    let frame = AnswerFrame {
        call_opens: vec!["<tool_call>"],
        functions: vec!["look".to_owned(), "say \"hi\"".to_owned()],
        ..AnswerFrame::default()
    };
    for (text, taken) in [
        ("{\"age\": 41}", true),
        ("<tool_call>\n{\"name\": \"look\"}\n</tool_call>", true),
        ("{\"name\": \"look\", \"arguments\": {\"a\": 1}}", true),
        ("{\"name\": \"say \\\"hi\\\"\", \"arguments\": {}}", true),
        ("{\"name\": \"other\", \"arguments\": {}}", false),
        ("I look.", false),
    ] {
        assert_eq!(takes(&age(), &frame, text)?, taken, "{text}");
        let alone = AnswerFrame::default();
        assert_eq!(takes(&age(), &alone, text)?, text.contains("age"), "{text}");
    }
    Ok(())
}

#[test]
fn a_shape_may_have_the_keys_of_a_call() -> Result<(), String> {
    let shape = AnswerShape::Schema(json!({
        "type": "object",
        "properties": { "name": { "type": "string" } },
        "required": ["name"],
        "additionalProperties": false,
    }));
    let frame = AnswerFrame {
        functions: vec!["look".to_owned()],
        ..AnswerFrame::default()
    };
    for text in [
        "{\"name\": \"Bob\"}",
        "{\"name\": \"look\"}",
        "{\"name\": \"look\", \"arguments\": {}}",
    ] {
        assert!(takes(&shape, &frame, text)?, "{text}");
    }
    Ok(())
}

#[test]
fn a_forced_call_has_the_references_of_its_own_schema() -> Result<(), String> {
    let node = json!({
        "type": "object",
        "properties": {
            "v": { "type": "string" },
            "left": { "anyOf": [{ "$ref": "#/$defs/Node" }, { "type": "null" }] },
        },
        "required": ["v", "left"],
        "additionalProperties": false,
    });
    let tree = json!({
        "$defs": { "Node": node },
        "type": "object",
        "properties": { "tree": { "$ref": "#/$defs/Node" } },
        "required": ["tree"],
    });
    let other = json!({ "$defs": { "Node": { "type": "integer" } }, "type": "object",
        "properties": { "n": { "$ref": "#/$defs/Node" } }, "required": ["n"] });
    let shape = AnswerShape::Call(vec![("plant".into(), tree), ("count".into(), other)]);
    let call = |name: &str, arguments: &str| {
        format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>")
    };
    let deep = r#"{"tree": {"v": "a", "left": {"v": "b", "left": null}}}"#;
    for (name, arguments, taken) in [
        ("plant", deep, true),
        ("plant", r#"{"tree": 5}"#, false),
        ("count", r#"{"n": 5}"#, true),
        ("count", deep, false),
        ("fell", "{}", false),
    ] {
        let text = call(name, arguments);
        assert_eq!(
            takes(&shape, &AnswerFrame::default(), &text)?,
            taken,
            "{text}"
        );
        let behind = format!("hm</think>\n\n{text}");
        assert_eq!(takes(&shape, &thinking(None), &behind)?, taken, "{behind}");
    }
    Ok(())
}

#[test]
fn what_is_forced_is_known_behind_the_thoughts() -> Result<(), String> {
    let grammars = Grammars::new(std::sync::Arc::new(ByteTokenizer));
    let shape = AnswerShape::Lark("start: \"abc\" (\"de\" | \"df\")".to_owned());
    let compiled = grammars.compile(&shape, &thinking(None), "shape");
    let compiled = compiled.map_err(|error| error.message().to_owned())?;
    let constraint = compiled.constraint();
    let grammar = constraint.grammar().ok_or("there is one")?;
    let mut scout = grammar.scout();
    for &byte in b"hm</think>a" {
        scout.wrote(Token::from(byte))?;
    }
    let forced: Vec<u8> = scout
        .forced()
        .iter()
        .map(|&(token, _)| token as u8)
        .collect();
    assert_eq!(forced, b"bcd");
    Ok(())
}
