//! What scouts say, against what the constraint of the same grammar lets be written.

use card_api::AnswerShape;
use card_core::constraint::{Constraint, Scout, allows};
use card_core::types::Token;
use serde_json::json;

use super::Grammars;
use super::frame::AnswerFrame;
use crate::testing::ByteTokenizer;
use crate::text::Tokenizer;

/// The constraint and a scout of this shape.
fn both(shape: &AnswerShape) -> (Box<dyn Constraint>, Box<dyn Scout>) {
    let grammars = Grammars::new(std::sync::Arc::new(ByteTokenizer));
    let compiled = grammars
        .compile(shape, &AnswerFrame::default(), "shape")
        .expect("it can be enforced");
    let constraint = compiled.constraint();
    let grammar = constraint.grammar().expect("there is one to look ahead in");
    (constraint, grammar.scout())
}

fn user() -> AnswerShape {
    AnswerShape::Schema(json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["name", "age"],
        "additionalProperties": false,
    }))
}

#[test]
fn a_scout_allows_what_the_mask_does_wherever_it_looks_from() -> Result<(), String> {
    let text = br#"{"name": "Jo", "age": 41}"#;
    let tokens: Vec<Token> = text.iter().map(|&b| b.into()).collect();
    let (mut constraint, mut from_start) = both(&user());
    let (_, mut beside) = both(&user());
    for at in 0..=tokens.len() {
        let mask = constraint.allowed()?.to_vec();
        for token in 0..ByteTokenizer.len() as Token {
            let allowed = allows(&mask, token);
            let shown = (String::from_utf8_lossy(&text[..at]), token);
            assert_eq!(beside.allows(&[], token), allowed, "{shown:?}");
            // From the beginning, behind all that was written since.
            assert_eq!(
                from_start.allows(&tokens[..at], token),
                allowed,
                "{shown:?}"
            );
        }
        if let Some(&token) = tokens.get(at) {
            constraint.wrote(token)?;
            beside.wrote(token)?;
            // Whether it has looked for forced text does not matter.
            beside.forced();
        }
    }
    // Nothing follows the end of a text, and no such token is.
    let end = ByteTokenizer.end_tokens()[0];
    assert!(!from_start.allows(&[&tokens[..], &[end]].concat(), end));
    assert!(!beside.allows(&[], 1 << 20));
    Ok(())
}

#[test]
fn a_system_without_a_thread_is_no_fault_of_the_schema() {
    let grammars = Grammars {
        // No system has so much room for a stack.
        stack: 1 << 60,
        ..Grammars::new(std::sync::Arc::new(ByteTokenizer))
    };
    let compiled = grammars.compile(&user(), &AnswerFrame::default(), "shape");
    let error = compiled.err().expect("there is no thread");
    assert_eq!(error.status, 500, "{}", error.message());
    assert_eq!(error.param(), None);
}

#[test]
fn a_scout_follows_forced_text_no_further_than_it_may() -> Result<(), String> {
    // A long word is one for the lexer; many short ones are as many for the parser.
    let word = format!("start: \"{}\"", "a".repeat(30_000));
    let mut words = "start: twice15\ntwice0: \"a\" \"b\"\n".to_owned();
    for i in 0..15 {
        words += &format!("twice{}: twice{i} twice{i}\n", i + 1);
    }
    for lark in [word, words] {
        let (mut constraint, mut scout) = both(&AnswerShape::Lark(lark));
        assert!(scout.forced().len() <= 128);
        assert!(scout.wrote(b'a'.into()).is_err(), "it is lost");
        assert!(scout.allows(&[], 3), "and refuses nothing");
        // What is written goes on.
        assert!(allows(constraint.allowed()?, b'a'.into()));
        constraint.wrote(b'a'.into())?;
    }
    Ok(())
}

#[test]
fn what_has_to_come_is_known_before_it_is_written() -> Result<(), String> {
    let lark = "start: \"abc\" (\"de\" | \"df\") \"ghi\"".to_owned();
    let (_, mut scout) = both(&AnswerShape::Lark(lark));
    let forced = |scout: &mut dyn Scout| -> String {
        let tokens = scout.forced().into_iter();
        tokens.map(|(token, _)| token as u8 as char).collect()
    };
    assert_eq!(forced(&mut *scout), "abcd");
    for &byte in b"abc" {
        scout.wrote(byte.into())?;
    }
    assert_eq!(forced(&mut *scout), "d");
    scout.wrote(b'd'.into())?;
    assert_eq!(forced(&mut *scout), "", "there is a choice");
    scout.wrote(b'f'.into())?;
    assert_eq!(forced(&mut *scout), "ghi");
    for &byte in b"ghi" {
        scout.wrote(byte.into())?;
    }
    assert_eq!(forced(&mut *scout), "", "it is complete");
    // A scout that was told what cannot be is lost.
    assert!(scout.wrote(b'x'.into()).is_err());
    assert!(scout.allows(&[], 3), "and refuses nothing");
    Ok(())
}
