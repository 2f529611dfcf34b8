//! Calls that stand in an answer without the marks of a call: the whole answer is one JSON
//! object that names a function which was offered, with arguments that fit, or several of them.
//! Llama 3 writes calls so, and so do models that were trained on another form than their
//! template's, like Qwen2.5-Coder: bare, in a fence, or with the braces doubled that the template
//! shows them.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::argument_fit::fits;
use crate::call_reader::json_span::JsonSpan;
use crate::job::OfferedFunction;
use crate::reading::loose::value_of;

/// Longest such call, in bytes. It is held back until it is whole; what is longer is text.
const LONGEST: usize = 1 << 20;
/// Longest beginning that may still become a call, in bytes: it is looked at again with each piece
/// of text. A longer one is nearly all spaces.
const LONGEST_OPENING: usize = 4 << 10;
/// Longest beginning of a fence, in bytes.
const LONGEST_FENCE: usize = 32;
/// Keys with which such a call begins.
const FIRST_KEYS: [&str; 5] = ["name", "arguments", "parameters", "type", "function"];

/// Holds an answer back that may be a call, and lets every other pass.
#[derive(Debug)]
pub(crate) struct BareCallFinder {
    offered: Arc<[OfferedFunction]>,
    stage: FinderStage,
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum FinderStage {
    /// The beginning is not decided yet.
    CallOpening,
    /// It begins like a call, and is held until its end.
    Holding,
    /// It is no call.
    Passing,
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum CallOpening {
    Unknown,
    LikeCall,
    Other,
}

impl BareCallFinder {
    /// Looks for calls of these functions.
    pub(crate) fn new(offered: Arc<[OfferedFunction]>) -> Self {
        BareCallFinder {
            offered,
            stage: FinderStage::CallOpening,
            held: String::new(),
        }
    }

    /// Takes more text; returns what is no call.
    pub(crate) fn push(&mut self, text: &str) -> String {
        if self.stage == FinderStage::Passing {
            return text.to_owned();
        }
        self.held.push_str(text);
        if self.stage == FinderStage::CallOpening {
            match opening(&self.held) {
                CallOpening::Unknown if self.held.len() <= LONGEST_OPENING => {}
                CallOpening::LikeCall => self.stage = FinderStage::Holding,
                CallOpening::Unknown | CallOpening::Other => self.stage = FinderStage::Passing,
            }
        }
        if self.held.len() > LONGEST {
            self.stage = FinderStage::Passing;
        }
        match self.stage {
            FinderStage::Passing => std::mem::take(&mut self.held),
            FinderStage::CallOpening | FinderStage::Holding => String::new(),
        }
    }

    /// The end: the calls, name and arguments of each, or the text that was held back.
    pub(crate) fn finish(&mut self) -> Result<Vec<(String, String)>, String> {
        let text = std::mem::take(&mut self.held);
        if self.stage != FinderStage::Holding {
            return Err(text);
        }
        calls_in(&text, &self.offered).ok_or(text)
    }
}

/// How this text begins. Only its beginning is looked at.
fn opening(text: &str) -> CallOpening {
    let mut rest = text.trim_start();
    if rest.starts_with("```") {
        match rest.find('\n') {
            Some(end) if end <= LONGEST_FENCE => rest = rest[end..].trim_start(),
            None if rest.len() <= LONGEST_FENCE => return CallOpening::Unknown,
            _ => return CallOpening::Other,
        }
    } else if !rest.is_empty() && "```".starts_with(rest) {
        return CallOpening::Unknown;
    }
    rest = rest.strip_prefix('[').unwrap_or(rest).trim_start();
    if rest.is_empty() {
        return CallOpening::Unknown;
    }
    let Some(behind) = rest.strip_prefix('{') else {
        return CallOpening::Other;
    };
    let behind = behind.trim_start();
    let behind = behind.strip_prefix('{').unwrap_or(behind).trim_start();
    if behind.is_empty() {
        return CallOpening::Unknown;
    }
    let Some(key) = behind.strip_prefix('"') else {
        return CallOpening::Other;
    };
    match key.split_once('"') {
        Some((key, _)) if FIRST_KEYS.contains(&key) => CallOpening::LikeCall,
        Some(_) => CallOpening::Other,
        None if FIRST_KEYS.iter().any(|k| k.starts_with(key)) => CallOpening::Unknown,
        None => CallOpening::Other,
    }
}

/// The calls that this text is, if it is nothing else.
fn calls_in(text: &str, offered: &[OfferedFunction]) -> Option<Vec<(String, String)>> {
    let text = unfenced(text.trim());
    if let Some(call) = object(text).or_else(|| undoubled(text)) {
        return Some(vec![call_of(call, offered)?]);
    }
    let listed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let mut rest = listed.unwrap_or(text).trim();
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let (one, behind) = rest.split_at(JsonSpan::default().end(rest)?);
        calls.push(call_of(object(one)?, offered)?);
        rest = behind.trim_start();
        rest = rest.strip_prefix([';', ',']).unwrap_or(rest).trim_start();
    }
    (!calls.is_empty()).then_some(calls)
}

/// The call that this object is, if it is one.
fn call_of(mut call: Map<String, Value>, offered: &[OfferedFunction]) -> Option<(String, String)> {
    if let Some(Value::Object(function)) = call.get("function") {
        call = function.clone();
    }
    let known = [
        "name",
        "arguments",
        "parameters",
        "type",
        "id",
        "description",
    ];
    if !call.keys().all(|key| known.contains(&key.as_str())) {
        return None;
    }
    let name = call.get("name")?.as_str()?;
    let function = offered.iter().find(|f| f.name == name)?;
    let arguments = call.get("arguments").or(call.get("parameters"));
    let arguments = match arguments {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(Value::String(text)) => object(text)?,
        Some(_) => return None,
    };
    let arguments = Value::Object(arguments);
    let schema = function.parameters.as_ref();
    if !schema.is_none_or(|schema| fits(schema, &arguments)) {
        return None;
    }
    Some((name.to_owned(), arguments.to_string()))
}

/// The text within a fence, if it stands in one.
fn unfenced(text: &str) -> &str {
    let within = text.strip_prefix("```").and_then(|t| t.strip_suffix("```"));
    let within = within.and_then(|t| t.split_once('\n'));
    within.map_or(text, |(_, body)| body.trim())
}

fn object(text: &str) -> Option<Map<String, Value>> {
    match value_of(text)? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// The object whose braces are doubled in this text: the outer ones, or all. Where all are, no
/// text in it may have braces, since those could not be told from doubled ones.
fn undoubled(text: &str) -> Option<Map<String, Value>> {
    let within = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'))?;
    if !within.trim_start().starts_with('{') {
        return None;
    }
    object(within.trim()).or_else(|| {
        let all = object(&text.replace("{{", "{").replace("}}", "}"))?;
        let plain = all.iter().all(|(key, v)| !braced(key) && no_braces(v));
        plain.then_some(all)
    })
}

fn braced(text: &str) -> bool {
    text.contains(['{', '}'])
}

fn no_braces(value: &Value) -> bool {
    match value {
        Value::String(text) => !braced(text),
        Value::Array(all) => all.iter().all(no_braces),
        Value::Object(all) => all.iter().all(|(key, v)| !braced(key) && no_braces(v)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offered() -> Arc<[OfferedFunction]> {
        let parameters = json!({
            "type": "object",
            "properties": { "city": { "type": "string" }, "days": { "type": ["integer", "null"] } },
            "required": ["city"],
            "additionalProperties": false,
        });
        let weather = OfferedFunction {
            name: "get_weather".into(),
            parameters: Some(parameters),
        };
        let now = OfferedFunction {
            name: "now".into(),
            parameters: None,
        };
        Arc::from([weather, now])
    }

    /// What is shown before the end, and what the end is.
    fn read(pieces: &[&str]) -> (String, Result<Vec<(String, String)>, String>) {
        let mut finder = BareCallFinder::new(offered());
        let shown: String = pieces.iter().map(|p| finder.push(p)).collect();
        (shown, finder.finish())
    }

    #[test]
    fn an_answer_that_is_one_object_and_fits_is_a_call() {
        let paris = ("get_weather".to_owned(), r#"{"city":"Paris"}"#.to_owned());
        for text in [
            r#"{"name": "get_weather", "arguments": {"city": "Paris"}}"#,
            "```json\n{\n  \"name\": \"get_weather\",\n  \"arguments\": {\n    \"city\": \"Paris\"\n  }\n}\n```",
            "```\n{\"name\":\"get_weather\",\"parameters\":{\"city\":\"Paris\"}}\n```\n",
            r#"{{"name": "get_weather", "arguments": {"city": "Paris"}}}"#,
            r#"{{"name": "get_weather", "arguments": {{"city": "Paris"}}}}"#,
            r#"{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}"#,
            r#" {"type":"function","function":{"name":"get_weather","arguments":{"city":"Paris"}}}"#,
        ] {
            for cut in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
                let (before, after) = text.split_at(cut);
                let read = read(&[before, after]);
                let wanted = Ok(vec![paris.clone()]);
                assert_eq!(read, (String::new(), wanted), "{text} {cut}");
            }
        }
        let now = ("now".to_owned(), "{}".to_owned());
        assert_eq!(read(&[r#"{"name":"now"}"#]).1, Ok(vec![now.clone()]));
        let city = r#"{"name": "get_weather", "parameters": {"city": "Paris"}}"#;
        for text in [
            format!("{city}; {{\"name\":\"now\"}}"),
            format!("[{city}, {{\"name\":\"now\"}}]"),
            format!("{city}\n{{\"name\":\"now\"}}"),
        ] {
            let wanted = Ok(vec![paris.clone(), now.clone()]);
            assert_eq!(read(&[&text]).1, wanted, "{text}");
        }
    }

    #[test]
    fn every_other_answer_is_text_as_it_was_written() {
        for text in [
            "It rains.",
            "",
            "  \n",
            "{",
            "``",
            "```python\nprint()\n```",
            r#"{"city": "Paris"}"#,
            r#"{"name": "other", "arguments": {}}"#,
            r#"{"name": "get_weather", "arguments": {}}"#,
            r#"{"name": "get_weather", "arguments": {"city": 5}}"#,
            r#"{"name": "get_weather", "arguments": {"city": "Paris", "x": 1}}"#,
            r#"{"name": "get_weather", "arguments": {"city": "Paris", "days": 0.5}}"#,
            r#"{"name": "get_weather", "age": 3}"#,
            r#"[{"name": "now"}, {"name": "other"}]"#,
            r#"[{"name": "now"}, 5]"#,
            r#"{"name": "get_weather", "arguments": {"city": "Pa"#,
            r#"{"name": "get_weather", "arguments": {"city": "Paris"}} is a call"#,
            r#"Call {"name": "get_weather", "arguments": {"city": "Paris"}}"#,
            r#"{{"name": "now", "arguments": {{"a": "}}{{"}}}}"#,
            "<tool_call>{\"name\":\"now\"}</tool_call>",
        ] {
            for cut in (0..=text.len()).filter(|&i| text.is_char_boundary(i)) {
                let (before, after) = text.split_at(cut);
                let (shown, end) = read(&[before, after]);
                match end {
                    Err(rest) => assert_eq!(shown + &rest, text, "{cut}"),
                    Ok(call) => panic!("{text}: {call:?}"),
                }
            }
        }
    }

    #[test]
    fn text_that_is_no_call_is_not_held_back() {
        let mut finder = BareCallFinder::new(offered());
        assert_eq!(finder.push("It "), "It ");
        let mut finder = BareCallFinder::new(offered());
        assert_eq!(finder.push("{\"na"), "");
        assert_eq!(finder.push("tion\":"), "{\"nation\":");
        let mut finder = BareCallFinder::new(offered());
        let long = format!("{{\"name\":\"{}", "x".repeat(LONGEST));
        assert_eq!(finder.push(&long), long);
        let mut finder = BareCallFinder::new(offered());
        let blank = " ".repeat(LONGEST_OPENING);
        assert_eq!(finder.push(&blank), "");
        assert_eq!(finder.push("\n"), blank + "\n");
    }
}
