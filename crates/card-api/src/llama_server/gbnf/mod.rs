//! GBNF, llama.cpp's grammars: parsed, and written down as llguidance's variant of Lark.
//!
//! Every rule of the grammar becomes a rule, and every character a terminal of its own. So the
//! lexer, which takes the longest terminal, has nothing to choose, and the texts of the Lark
//! grammar are exactly those of the GBNF.
//!
//! Everything of GBNF is taken but tokens (`<think>`, `<[1000]>`, `!<…>`), of which a grammar of
//! text knows nothing. What llama.cpp's parser refuses is refused, and so is a rule that is
//! defined twice, of which it takes the last.

mod grammar;
mod lark;
mod parse;

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::job::AnswerShape;
use crate::limits::GRAMMAR_BYTES;

/// The same grammar in llguidance's variant of Lark.
///
/// # Errors
/// Says what is wrong with the grammar, with the number of its line.
pub fn to_lark(gbnf: &str) -> Result<String, String> {
    let bytes = gbnf.len();
    if bytes > GRAMMAR_BYTES {
        return Err(format!(
            "it has {bytes} bytes, and may have {GRAMMAR_BYTES}"
        ));
    }
    parse::parse(gbnf).map(|grammar| lark::written(&grammar))
}

/// What a text has to be by the `grammar` of a request. An empty one says nothing.
///
/// # Errors
/// If it is wrong.
pub(crate) fn of_grammar(grammar: &str) -> Result<Option<AnswerShape>, ApiError> {
    if grammar.trim().is_empty() {
        return Ok(None);
    }
    let wrong = |why: String| ApiError::field("grammar", format!("the grammar: {why}"));
    let lark = to_lark(grammar).map_err(wrong)?;
    Ok(Some(AnswerShape::Lark(lark)))
}

/// What a text has to be by `grammar` or `json_schema` of a request, and which of them says so.
/// An empty grammar is none.
///
/// # Errors
/// If the grammar is wrong, or there are both.
pub(crate) fn shape(
    grammar: Option<&str>,
    schema: Option<Value>,
) -> Result<(Option<AnswerShape>, &'static str), ApiError> {
    let grammar = grammar.map(of_grammar).transpose()?.flatten();
    match (grammar, schema) {
        (Some(_), Some(_)) => {
            let why = "there is a `grammar` and a `json_schema`; leave one of them out";
            Err(ApiError::field("grammar", why))
        }
        (None, Some(schema)) => Ok((Some(of_schema(schema)?), "json_schema")),
        (grammar, None) => Ok((grammar, "grammar")),
    }
}

/// The shape of a JSON Schema; an empty one is for any object, as in llama-server.
fn of_schema(schema: Value) -> Result<AnswerShape, ApiError> {
    match &schema {
        Value::Object(fields) if fields.is_empty() => {
            Ok(AnswerShape::Schema(json!({ "type": "object" })))
        }
        Value::Object(_) | Value::Bool(_) => Ok(AnswerShape::Schema(schema)),
        _ => {
            let why = "`json_schema` must be a JSON Schema, which is an object";
            Err(ApiError::field("json_schema", why))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_grammar_is_written_rule_by_rule_and_character_by_character() {
        let lark = to_lark("root ::= \"ab\" [0-9]{2,3} x? # a comment\nx ::= (\"c\" | root)*");
        let lines = [
            "start: r0",
            "r0: C0 C1 C2{2,3} r1?",
            "r1: ((C3) | (r0))*",
            r"C0: /[\x{61}]/",
            r"C1: /[\x{62}]/",
            r"C2: /[\x{30}-\x{39}]/",
            r"C3: /[\x{63}]/",
        ];
        let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(lark.unwrap(), expected);
    }

    #[test]
    fn all_that_gbnf_has_is_taken() {
        for grammar in [
            "root ::= \"a\"{5,5}",
            "root ::= \"\"",
            "root ::= [^\"\\\\\\x00-\\x1f]+ .",
            "root ::= \"\\u00e9\\U0001F917é\" [\\]\\-a-]",
            "root ::= a |\n  b\na ::= \"1\"\nb ::= (\n \"2\"\n)\n",
            "\n# first\nroot ::= \"a\"{0} | \"b\"{0,0} | \"c\"{3,} | \"d\"{2}\r\n",
            "root ::= root-2\nroot-2 ::= \"x\" root | \"y\"",
        ] {
            let lark = to_lark(grammar);
            assert!(lark.is_ok(), "{grammar}: {lark:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (grammar, why) in [
            ("root ::= this is (not valid GBNF", "line 1"),
            ("root ::= \"a", "line 1"),
            ("root ::= \"a\"\nx := \"b\"", "line 2"),
            ("root ::= \"a\"\nb", "line 2"),
            ("a ::= \"b\"", "no rule `root`"),
            ("root ::= x", "no rule `x`"),
            ("root ::= \"a\"\nroot ::= \"b\"", "twice"),
            ("root ::= [b-a]", "backwards"),
            ("root ::= []", "empty"),
            ("root ::= [^]", "empty"),
            ("root ::= *", "nothing to repeat"),
            ("root ::= \"a\"{9999}", "2000"),
            ("root ::= \"a\"{3,2}", "at most"),
            ("root ::= \"\\q\"", "escape"),
            ("root ::= \"\\ud800\"", "no character"),
            ("root ::= \"\\x4\"", "hexadecimal"),
            ("root ::= <think>", "tokens"),
            ("root ::= !<[7]>", "tokens"),
            ("root ::= \"a\" )", "line 1"),
            ("", "no rule `root`"),
        ] {
            let error = to_lark(grammar).unwrap_err();
            assert!(error.contains(why), "{grammar}: {error}");
        }
        let deep = format!("root ::= {}\"a\"{}", "(".repeat(999), ")".repeat(999));
        assert!(to_lark(&deep).unwrap_err().contains("nested"));
    }

    #[test]
    fn items_that_are_repeated_again_and_again_count_as_nested_groups() {
        let repeated = |mark: &str, times: usize| {
            let lark = to_lark(&format!("root ::= \"a\"{}", mark.repeat(times)));
            lark.map(|lark| lark.lines().count())
        };
        for mark in ["*", "?", "+", "{2}", "{0,3}", "{1,}"] {
            // The first mark makes no group, and 64 groups may stand one within the other.
            assert_eq!(repeated(mark, 65), Ok(3), "{mark}");
            for times in [66, 60_000 / mark.len()] {
                let error = repeated(mark, times).unwrap_err();
                assert!(error.contains("nested"), "{mark}: {error}");
            }
        }
        let through_groups = |levels: usize| {
            let (open, close) = ("(".repeat(levels), "**)".repeat(levels));
            to_lark(&format!("root ::= {open}\"a\"{close}"))
        };
        assert!(through_groups(32).is_ok());
        assert!(through_groups(33).unwrap_err().contains("nested"));
    }

    #[test]
    fn a_shape_is_of_one_field() {
        let grammar = Some("root ::= \"a\"");
        assert!(matches!(
            shape(grammar, None),
            Ok((Some(AnswerShape::Lark(_)), "grammar"))
        ));
        assert_eq!(shape(Some(" "), None), Ok((None, "grammar")));
        let object = Ok((
            Some(AnswerShape::Schema(json!({ "type": "object" }))),
            "json_schema",
        ));
        assert_eq!(shape(None, Some(json!({}))), object);
        let both = shape(grammar, Some(json!({}))).unwrap_err();
        assert_eq!(both.param(), Some("grammar"));
        let wrong = shape(None, Some(json!(5))).unwrap_err();
        assert_eq!(wrong.param(), Some("json_schema"));
    }
}
