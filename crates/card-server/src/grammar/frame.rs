//! What may stand around a text that has to be of some shape: thoughts before it, and calls of
//! tools in its place.

use card_api::AnswerShape;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};

use crate::text::Tokenizer;

/// What may stand around a text of some shape. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AnswerFrame {
    /// The thoughts before it.
    pub(crate) thoughts: Option<ThoughtFrame>,
    /// What stands before an answer that has no thoughts; empty where nothing does.
    pub(crate) answer_open: &'static str,
    /// The marks that begin a call, which may stand in place of the text.
    pub(crate) call_opens: Vec<&'static str>,
    /// The functions that an object may name which stands in place of the text.
    pub(crate) functions: Vec<String>,
}

/// Thoughts before a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ThoughtFrame {
    /// What begins them, if they are there; `None` if the prompt ends within them.
    pub(crate) open: Option<&'static str>,
    /// What ends them.
    pub(crate) close: &'static str,
}

/// The grammar of a shape within a frame, in the terms of llguidance.
pub(super) fn grammar(
    shape: &AnswerShape,
    frame: &AnswerFrame,
    tokenizer: &dyn Tokenizer,
) -> TopLevelGrammar {
    if *frame == AnswerFrame::default() {
        match shape {
            AnswerShape::Object => {
                return TopLevelGrammar::from_json_schema(neat(json!({ "type": "object" })));
            }
            AnswerShape::Schema(schema) => {
                return TopLevelGrammar::from_json_schema(neat(schema.clone()));
            }
            AnswerShape::Lark(lark) => return TopLevelGrammar::from_lark(lark.clone()),
            AnswerShape::Call(_) => {}
        }
    }
    let mut rules = before(shape, frame, tokenizer);
    rules.extend(answer(shape, frame, tokenizer));
    let mut grammars = vec![GrammarWithLexer::from_lark(rules.join("\n"))];
    if let AnswerShape::Lark(lark) = shape {
        grammars.push(GrammarWithLexer {
            name: Some(CLIENT.to_owned()),
            ..GrammarWithLexer::from_lark(lark.clone())
        });
    }
    TopLevelGrammar {
        grammars,
        max_tokens: None,
    }
}

/// The name of a client's own grammar within a frame.
const CLIENT: &str = "client";
/// Some text; control tokens are none.
const TEXT: &str = "TEXT: /(?s:.+)/";
/// White space between what a model thinks and what it says.
const BLANK: &str = "BLANK: /[ \\n]{1,8}/";

/// The rules of what stands before the answer.
fn before(shape: &AnswerShape, frame: &AnswerFrame, tokenizer: &dyn Tokenizer) -> Vec<String> {
    let call = matches!(shape, AnswerShape::Call(_));
    // A call that is forced stands in words of its own, with nothing before it.
    let open = literal(tokenizer, if call { "" } else { frame.answer_open });
    let Some(thoughts) = frame.thoughts else {
        return vec![format!("start: {open} answer")];
    };
    let start = match thoughts.open {
        None => "start: thought BLANK? answer".to_owned(),
        Some(begin) => {
            let begin = literal(tokenizer, begin);
            if open.is_empty() {
                format!("start: ({begin} thought)? BLANK? answer")
            } else {
                format!("start: ({begin} thought | {open}) BLANK? answer")
            }
        }
    };
    let close = literal(tokenizer, thoughts.close);
    // A text that is one literal can be looked for; one with control tokens ends the text before.
    let (thought, text) = if close.contains("<[") {
        (format!("thought: TEXT? {close}"), Some(TEXT.to_owned()))
    } else {
        let close = Value::from(thoughts.close);
        (format!("thought[suffix={close}]: /(?s:.*)/"), None)
    };
    let mut rules = vec![start, thought, BLANK.to_owned()];
    rules.extend(text.filter(|_| frame.call_opens.is_empty()));
    rules
}

/// The rules of the answer.
fn answer(shape: &AnswerShape, frame: &AnswerFrame, tokenizer: &dyn Tokenizer) -> Vec<String> {
    let mut rules = match shape {
        AnswerShape::Object => vec![format!(
            "shaped: %json {}",
            neat(json!({ "type": "object" }))
        )],
        AnswerShape::Schema(schema) => vec![format!("shaped: %json {}", neat(schema.clone()))],
        AnswerShape::Lark(_) => vec![format!("shaped: @{CLIENT}")],
        AnswerShape::Call(functions) => forced_call(functions),
    };
    let mut choices = vec!["shaped".to_owned()];
    for mark in &frame.call_opens {
        choices.push(format!("{} rest", literal(tokenizer, mark)));
    }
    if !frame.call_opens.is_empty() {
        rules.push("rest: (TEXT | <[*]>)*".to_owned());
        rules.push(TEXT.to_owned());
    }
    if !frame.functions.is_empty() {
        // By the same means as the shape, so that both are cut into the same words: a longer word
        // that begins as a shorter one would hide it.
        let object = neat(json!({
            "type": "object",
            "properties": {
                "name": { "enum": frame.functions },
                "arguments": { "type": "object" },
            },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        }));
        choices.push("object".to_owned());
        rules.push(format!("object: %json {object}"));
    }
    rules.push(format!("answer: {}", choices.join(" | ")));
    rules
}

/// The rules of a call of one of these functions. Each schema stands for itself, so that its
/// references (`$defs`, `#`) mean what they say.
fn forced_call(functions: &[(String, Value)]) -> Vec<String> {
    let mut rules = Vec::new();
    let mut calls = Vec::new();
    for (i, (name, arguments)) in functions.iter().enumerate() {
        let begin = format!("{{\"name\": {}, \"arguments\": ", quoted(name));
        calls.push(format!("call_{i}"));
        rules.push(format!("call_{i}: {} arguments_{i} \"}}\"", quoted(&begin)));
        let schema = neat(arguments.clone());
        rules.push(format!("arguments_{i}: %json {schema}"));
    }
    let calls = calls.join(" | ");
    rules.push(format!("call: {calls}"));
    rules.push("shaped: \"<tool_call>\\n\" call \"\\n</tool_call>\"".to_owned());
    rules
}

/// A text in quotes, as JSON and Lark have it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A text in Lark, names of control tokens as those tokens.
fn literal(tokenizer: &dyn Tokenizer, text: &str) -> String {
    let plain = || match text {
        "" => String::new(),
        text => quoted(text),
    };
    let Ok(tokens) = tokenizer.tokenize(text, true) else {
        return plain();
    };
    let mut parts: Vec<String> = Vec::new();
    let mut run: Vec<u8> = Vec::new();
    let mut written: Vec<u8> = Vec::new();
    for token in tokens {
        let (bytes, name) = (tokenizer.piece(token, false), tokenizer.piece(token, true));
        // A token that begins every text is no part of this one.
        let inside = !name.is_empty() && text.as_bytes()[written.len()..].starts_with(&name);
        if !bytes.is_empty() {
            run.extend(&bytes);
            written.extend(&bytes);
        } else if inside {
            let text = String::from_utf8(std::mem::take(&mut run)).unwrap_or_default();
            parts.extend((!text.is_empty()).then(|| quoted(&text)));
            parts.push(format!("<[{token}]>"));
            written.extend(&name);
        }
        if written.len() > text.len() {
            return plain();
        }
    }
    let text_behind = String::from_utf8(run).unwrap_or_default();
    parts.extend((!text_behind.is_empty()).then(|| quoted(&text_behind)));
    if written == text.as_bytes() {
        parts.join(" ")
    } else {
        plain()
    }
}

/// The schema, with a bound of the white space between the parts of a text: a space, or a line
/// break with an indent. Small models like to go on with blanks for ever.
pub(super) fn neat(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        let blank = r"(\n[ ]{0,40}|[ ])?";
        fields.insert("x-guidance".into(), json!({ "whitespace_pattern": blank }));
    }
    schema
}
