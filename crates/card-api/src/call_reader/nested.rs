//! Values that have tags in them, as MiniMax M3 writes objects and lists.

use serde_json::{Map, Value};

use crate::answer_format::markup::MINIMAX_TAG;
use crate::reading::loose::value_of;

/// The tag of an item of a list.
const ITEM: &str = "item";
/// How deep a value may be.
const DEEPEST: usize = 32;

/// The JSON text of a value that begins with a tag; `None` if its tags do not fit together.
pub(super) fn json_of(text: &str) -> Option<String> {
    value(text, DEEPEST).map(|value| value.to_string())
}

fn value(text: &str, depth: usize) -> Option<Value> {
    if !text.starts_with(MINIMAX_TAG) {
        return Some(value_of(text.trim()).unwrap_or_else(|| Value::from(text)));
    }
    let depth = depth.checked_sub(1)?;
    let (mut fields, mut items) = (Map::new(), Vec::new());
    let mut rest = text;
    while !rest.trim().is_empty() {
        let (name, behind) = rest
            .trim_start()
            .strip_prefix(MINIMAX_TAG)?
            .split_once('>')?;
        let (within, behind) = inside(name, behind)?;
        let within = value(within, depth)?;
        if name == ITEM {
            items.push(within);
        } else {
            fields.insert(name.to_owned(), within);
        }
        rest = behind;
    }
    match (fields.is_empty(), items.is_empty()) {
        (true, _) => Some(Value::Array(items)),
        (false, true) => Some(Value::Object(fields)),
        // Neither an object nor a list.
        (false, false) => None,
    }
}

/// What stands before the end of a tag of this name, and what behind it.
fn inside<'a>(name: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
    let (open, close) = (
        format!("{MINIMAX_TAG}{name}>"),
        format!("{MINIMAX_TAG}/{name}>"),
    );
    let (mut depth, mut at) = (0usize, 0);
    loop {
        let end = at + text[at..].find(&close)?;
        // Tags of the same name within it end first.
        depth += text[at..end].matches(&open).count();
        if depth == 0 {
            return Some((&text[..end], &text[end + close.len()..]));
        }
        depth -= 1;
        at = end + close.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> String {
        text.replace('<', MINIMAX_TAG)
    }

    #[test]
    fn tags_become_objects_and_lists() {
        for (text, json) in [
            ("<a>1</a><b>x y</b>", r#"{"a":1,"b":"x y"}"#),
            ("<item>a</item><item>2</item>", r#"["a",2]"#),
            ("<item><id>1</id></item>", r#"[{"id":1}]"#),
            ("<a><a>1</a></a>", r#"{"a":{"a":1}}"#),
        ] {
            assert_eq!(json_of(&tags(text)).as_deref(), Some(json), "{text}");
        }
        for text in ["<a>1", "<a>1</b>", "<a>1</a><item>2</item>"] {
            assert_eq!(json_of(&tags(text)), None, "{text}");
        }
        assert_eq!(json_of(&tags(&"<a>".repeat(1000))), None);
    }
}
