//! A call that a grammar forces, read as it is written: its name is told as soon as it is
//! known, and its arguments piece by piece, as the model writes them.

use serde_json::Value;

use crate::spoken_part::SpokenPart;
use crate::tool_calls::ToolCallSplitter;

/// The key before the arguments.
const ARGUMENTS: &str = "\"arguments\"";

/// Reads a call that stands in a grammar's words: `<tool_call>`, and an object with `name` and
/// `arguments` in this order.
#[derive(Debug, Default)]
pub(crate) struct ForcedCallReader {
    stage: CallStage,
    /// The text before the arguments.
    held: String,
    /// Reads what is no call after all.
    other: ToolCallSplitter,
}

#[derive(Debug, Default)]
enum CallStage {
    /// The arguments have not begun.
    #[default]
    Head,
    /// The arguments are written.
    Arguments(JsonEnd),
    /// They ended; what follows closes the call.
    Over,
}

/// Finds the end of an object or a list in JSON text.
#[derive(Clone, Copy, Debug, Default)]
struct JsonEnd {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl ForcedCallReader {
    /// Takes more text; returns what is known by now.
    pub(crate) fn push(&mut self, text: &str) -> Vec<SpokenPart> {
        match &mut self.stage {
            CallStage::Head => {
                self.held.push_str(text);
                let Some((name, at)) = head(&self.held) else {
                    return Vec::new();
                };
                let arguments = self.held.split_off(at);
                self.held.clear();
                self.stage = CallStage::Arguments(JsonEnd::default());
                let mut parts = vec![SpokenPart::CallBegin { name }];
                parts.extend(self.push(&arguments));
                parts
            }
            CallStage::Arguments(end) => {
                let found = end.find(text);
                let more = &text[..found.unwrap_or(text.len())];
                let mut parts = Vec::new();
                if !more.is_empty() {
                    parts.push(SpokenPart::CallMore(more.to_owned()));
                }
                if found.is_some() {
                    self.stage = CallStage::Over;
                    parts.push(SpokenPart::CallEnd);
                }
                parts
            }
            CallStage::Over => Vec::new(),
        }
    }

    /// The end. A text that was cut off before its arguments is shown as it is.
    pub(crate) fn finish(&mut self) -> Vec<SpokenPart> {
        let held = std::mem::take(&mut self.held);
        let mut parts = self.other.push(&held);
        parts.extend(self.other.finish());
        parts.into_iter().map(SpokenPart::from).collect()
    }

    /// Whole calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.other.calls() + usize::from(matches!(self.stage, CallStage::Over))
    }
}

/// The name of a call, and where its arguments begin; `None` while that is not known.
fn head(text: &str) -> Option<(String, usize)> {
    let object = text.find('{')?;
    let mut from = object;
    // The name of a function may be `arguments` too; a colon follows the key only.
    loop {
        let at = from + text[from..].find(ARGUMENTS)?;
        from = at + ARGUMENTS.len();
        let Some(behind) = text[from..].trim_start().strip_prefix(':') else {
            continue;
        };
        let arguments = behind.trim_start();
        if !arguments.starts_with(['{', '[']) {
            return None;
        }
        let before = text[object..at].trim_end().strip_suffix(',')?;
        let before: Value = serde_json::from_str(&format!("{before}}}")).ok()?;
        let name = before["name"].as_str()?.to_owned();
        return Some((name, text.len() - arguments.len()));
    }
}

impl JsonEnd {
    /// Where in this text the object or the list ends that began before or in it.
    fn find(&mut self, text: &str) -> Option<usize> {
        for (at, byte) in text.bytes().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> (Vec<String>, usize) {
        let mut reader = ForcedCallReader::default();
        let mut parts: Vec<SpokenPart> = pieces.iter().flat_map(|p| reader.push(p)).collect();
        parts.extend(reader.finish());
        let mut told: Vec<String> = Vec::new();
        let mut in_arguments = false;
        for part in parts {
            let more = matches!(part, SpokenPart::CallMore(_));
            let text = match part {
                SpokenPart::CallBegin { name } => format!("call {name}"),
                SpokenPart::CallMore(text) | SpokenPart::Text(text) => text,
                SpokenPart::CallEnd => "end".to_owned(),
                other => format!("{other:?}"),
            };
            match told.last_mut() {
                Some(last) if more && in_arguments => last.push_str(&text),
                _ => told.push(text),
            }
            in_arguments = more;
        }
        (told, reader.calls())
    }

    #[test]
    fn a_call_is_told_as_it_is_written() {
        let arguments = r#"{"a": "} \" ] é", "b": [{}, 1]}"#;
        let cases = [
            (
                format!(
                    "<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>"
                ),
                "f",
            ),
            (
                format!("<tool_call>\n{{\"name\":\"arguments\",\"arguments\":{arguments}}}"),
                "arguments",
            ),
        ];
        for (text, name) in cases {
            let wanted = [
                format!("call {name}"),
                arguments.to_owned(),
                "end".to_owned(),
            ];
            for cut in (0..text.len()).filter(|&i| text.is_char_boundary(i)) {
                let (before, after) = text.split_at(cut);
                assert_eq!(read(&[before, after]), (wanted.to_vec(), 1), "{text} {cut}");
            }
        }
    }

    #[test]
    fn what_was_cut_off_is_shown_as_far_as_it_came() {
        let text = "<tool_call>\n{\"name\": \"f\", \"argu";
        assert_eq!(read(&[text]), (vec![text.to_owned()], 0));
        let text = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"";
        let wanted = vec!["call f".to_owned(), "{\"a\": \"".to_owned()];
        assert_eq!(read(&[text]), (wanted, 0));
        assert_eq!(read(&[]), (Vec::new(), 0));
    }
}
