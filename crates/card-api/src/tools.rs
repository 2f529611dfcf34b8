//! Calls of tools in a model's text: `<tool_call>` and `</tool_call>` around a JSON object,
//! as Qwen, Hermes and many others write them.

use serde_json::{Value, json};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text for the reader.
    Text(String),
    /// A call: name of the function, and its arguments as JSON text.
    Call(String, String),
}

/// Splits text as it streams into text and calls.
#[derive(Debug, Default)]
pub struct Splitter {
    held: String,
    inside: bool,
    calls: usize,
}

impl Splitter {
    /// Takes more text; returns what is complete.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held.push_str(text);
        let mut parts = Vec::new();
        loop {
            let mark = if self.inside { CLOSE } else { OPEN };
            match self.held.find(mark) {
                Some(at) => {
                    let before: String = self.held.drain(..at + mark.len()).collect();
                    let before = &before[..at];
                    parts.push(match self.inside {
                        true => self.call(before),
                        false => Part::Text(before.to_owned()),
                    });
                    self.inside = !self.inside;
                }
                None if self.inside => break,
                None => {
                    let keep = (1..OPEN.len())
                        .rev()
                        .find(|&n| self.held.ends_with(&OPEN[..n]));
                    let show = self.held.len() - keep.unwrap_or(0);
                    parts.push(Part::Text(self.held.drain(..show).collect()));
                    break;
                }
            }
        }
        self.tidy(parts)
    }

    /// The end: what was held back. A call that was not closed is one if it is whole.
    pub fn finish(&mut self) -> Vec<Part> {
        let rest = std::mem::take(&mut self.held);
        let parts = match self.inside {
            true => vec![self.call(&rest)],
            false => vec![Part::Text(rest)],
        };
        self.tidy(parts)
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.calls
    }

    fn call(&mut self, text: &str) -> Part {
        let parsed: Option<Value> = serde_json::from_str(text.trim()).ok();
        let name = parsed.as_ref().and_then(|c| c["name"].as_str());
        let Some(name) = name else {
            // Not a call after all: the reader shall see what the model wrote.
            return Part::Text(format!("{OPEN}{text}{CLOSE}"));
        };
        self.calls += 1;
        let arguments = parsed.as_ref().and_then(|c| c.get("arguments"));
        let arguments = match arguments {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "{}".to_owned(),
        };
        Part::Call(name.to_owned(), arguments)
    }

    /// Line breaks between calls are not for the reader.
    fn tidy(&self, parts: Vec<Part>) -> Vec<Part> {
        let calls = self.calls > 0 || self.inside;
        let blank =
            |p: &Part| matches!(p, Part::Text(t) if t.is_empty() || (calls && t.trim().is_empty()));
        parts.into_iter().filter(|p| !blank(p)).collect()
    }
}

/// A call as OpenAI's API has it.
pub fn call_object(id: &str, index: Option<usize>, name: &str, arguments: &str) -> Value {
    let mut call = json!({
        "id": id,
        "type": "function",
        "function": { "name": name, "arguments": arguments },
    });
    if let Some(index) = index {
        call["index"] = index.into();
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&str]) -> Vec<Part> {
        let mut s = Splitter::default();
        let mut parts: Vec<Part> = pieces.iter().flat_map(|p| s.push(p)).collect();
        parts.extend(s.finish());
        parts
    }

    #[test]
    fn finds_calls_in_a_stream() {
        let parts = split(&[
            "Let me see. <tool",
            "_call>\n{\"name\": \"f\", \"argu",
            "ments\": {\"a\": 1}}\n</tool_call>\n<tool_call>{\"name\":\"g\"}",
        ]);
        let text = Part::Text("Let me see. ".into());
        let f = Part::Call("f".into(), "{\"a\":1}".into());
        assert_eq!(parts, [text, f, Part::Call("g".into(), "{}".into())]);
    }

    #[test]
    fn what_is_no_call_is_text() {
        let parts = split(&["a < b", " <tool_call>nonsense</tool_call>"]);
        let whole: String = parts
            .iter()
            .map(|p| match p {
                Part::Text(t) => t.as_str(),
                Part::Call(..) => panic!("a call"),
            })
            .collect();
        assert_eq!(whole, "a < b <tool_call>nonsense</tool_call>");
    }
}
