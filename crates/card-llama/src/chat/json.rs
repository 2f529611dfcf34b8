//! `tojson` as templates expect it: Python's `json.dumps`, which escapes nothing for HTML.

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Error, ErrorKind, Value};

use super::arguments::bind;
use super::numbers::{float, float_text};

/// Lists and objects within each other that are written: what is read has fewer.
const MOST_NESTED: usize = 128;
/// Bytes that are written.
const MOST_BYTES: usize = 64 << 20;
/// Bytes of the indentation of one level.
const MOST_INDENT: usize = 256;

/// The filter `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(value: &Value, rest: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sort] = bind(names, rest)?;
    let indent = indentation(indent)?;
    let (comma, colon) = match separators.filter(|s| !s.is_none()) {
        Some(pair) => separator_pair(&pair)?,
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
    };
    let mut writer = JsonWriter {
        ascii: ascii.is_some_and(|v| v.is_true()),
        sort: sort.is_some_and(|v| v.is_true()),
        indent,
        comma,
        colon,
        text: String::new(),
        nested: 0,
    };
    writer.value(value)?;
    Ok(Value::from_safe_string(writer.text))
}

/// The filter `from_json`, which llama.cpp has too.
pub(super) fn from_json(text: &str) -> Result<Value, Error> {
    let value = serde_json::from_str::<serde_json::Value>(text);
    let value = value.map_err(|e| failed(format!("from_json: {e}")))?;
    Ok(Value::from(minijinja::value::Serde(value)))
}

/// What one level is indented by: a text, or a number of spaces.
fn indentation(indent: Option<Value>) -> Result<Option<String>, Error> {
    let Some(indent) = indent.filter(|v| !v.is_none() && !v.is_undefined()) else {
        return Ok(None);
    };
    if let Some(text) = indent.as_str() {
        check_indent(text.len())?;
        return Ok(Some(text.to_owned()));
    }
    let wrong = || failed("tojson: indent is a number, a text or none".into());
    let spaces = usize::try_from(indent.as_i64().ok_or_else(wrong)?.max(0)).unwrap_or(usize::MAX);
    check_indent(spaces)?;
    Ok(Some(" ".repeat(spaces)))
}

fn check_indent(bytes: usize) -> Result<(), Error> {
    if bytes <= MOST_INDENT {
        return Ok(());
    }
    let why = format!("tojson: indent is more than {MOST_INDENT} characters");
    Err(failed(why))
}

/// What stands between values, and between a key and its value.
fn separator_pair(pair: &Value) -> Result<(String, String), Error> {
    let wrong = || failed("tojson: separators are two texts".into());
    let pair = pair.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?;
    let [comma, colon] = &pair[..] else {
        return Err(wrong());
    };
    let text = |value: &Value| {
        let text = value.as_str().ok_or_else(wrong)?;
        check_indent(text.len())?;
        Ok::<_, Error>(text.to_owned())
    };
    Ok((text(comma)?, text(colon)?))
}

fn failed(why: String) -> Error {
    Error::new(ErrorKind::BadSerialization, why)
}

/// Writes a value by Python's rules.
struct JsonWriter {
    ascii: bool,
    sort: bool,
    /// What one level is indented by; `None` for a text of one line.
    indent: Option<String>,
    comma: String,
    colon: String,
    text: String,
    /// Lists and objects around the place where it is.
    nested: usize,
}

impl JsonWriter {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(bool_text(value.is_true())),
            ValueKind::Number => self.text.push_str(&number_text(value)),
            ValueKind::String | ValueKind::Bytes => self.string(value.as_str().unwrap_or(""))?,
            ValueKind::Seq | ValueKind::Iterable => self.list(value)?,
            ValueKind::Map => self.object(value)?,
            kind => return Err(failed(format!("tojson: a {kind} is no JSON"))),
        }
        Ok(())
    }

    fn list(&mut self, list: &Value) -> Result<(), Error> {
        self.begin('[')?;
        let mut first = true;
        for value in list.try_iter()?.checked() {
            let value = value?;
            self.next(first)?;
            self.value(&value)?;
            first = false;
        }
        self.end(']', first)
    }

    fn object(&mut self, object: &Value) -> Result<(), Error> {
        let pairs = object.as_object().and_then(|o| o.try_iter_pairs());
        let mut pairs: Vec<(Value, Value)> = pairs.into_iter().flatten().collect();
        if self.sort {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.begin('{')?;
        for (i, (key, value)) in pairs.iter().enumerate() {
            self.next(i == 0)?;
            self.key(key)?;
            self.text.push_str(&self.colon);
            self.value(value)?;
        }
        self.end('}', pairs.is_empty())
    }

    /// A key is a text; what else Python takes for one becomes a text.
    fn key(&mut self, key: &Value) -> Result<(), Error> {
        let text = match key.kind() {
            ValueKind::None => "null".to_owned(),
            ValueKind::Bool => bool_text(key.is_true()).to_owned(),
            ValueKind::Number => number_text(key),
            _ => match key.as_str() {
                Some(text) => text.to_owned(),
                None => return Err(failed(format!("tojson: a {} is no key", key.kind()))),
            },
        };
        self.string(&text)
    }

    fn begin(&mut self, bracket: char) -> Result<(), Error> {
        self.nested += 1;
        if self.nested > MOST_NESTED {
            return Err(failed("tojson: too many lists within each other".into()));
        }
        self.text.push(bracket);
        Ok(())
    }

    /// Goes to where the next value of a list or an object stands.
    fn next(&mut self, first: bool) -> Result<(), Error> {
        if !first {
            self.text.push_str(&self.comma);
        }
        self.line()
    }

    fn end(&mut self, bracket: char, empty: bool) -> Result<(), Error> {
        self.nested -= 1;
        if !empty {
            self.line()?;
        }
        self.text.push(bracket);
        Ok(())
    }

    /// A new line, where values have lines of their own.
    fn line(&mut self) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            self.text.push('\n');
            self.text
                .extend(std::iter::repeat_n(indent.as_str(), self.nested));
        }
        self.check_length()
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.text.push('"');
        for c in text.chars() {
            self.character(c);
        }
        self.text.push('"');
        self.check_length()
    }

    fn character(&mut self, c: char) {
        match c {
            '"' => self.text.push_str("\\\""),
            '\\' => self.text.push_str("\\\\"),
            '\n' => self.text.push_str("\\n"),
            '\r' => self.text.push_str("\\r"),
            '\t' => self.text.push_str("\\t"),
            '\u{8}' => self.text.push_str("\\b"),
            '\u{c}' => self.text.push_str("\\f"),
            ' '..='~' => self.text.push(c),
            '\0'..' ' => self.escape(c),
            _ if self.ascii => self.escape(c),
            _ => self.text.push(c),
        }
    }

    /// A character by the numbers of its UTF-16 units.
    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.text.push_str(&format!("\\u{unit:04x}"));
        }
    }

    fn check_length(&self) -> Result<(), Error> {
        if self.text.len() <= MOST_BYTES {
            return Ok(());
        }
        Err(failed("tojson: the text is too long".into()))
    }
}

fn bool_text(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

/// A number as Python's json writes it.
fn number_text(value: &Value) -> String {
    match float(value) {
        Some(number) if number.is_nan() => "NaN".into(),
        Some(number) if number.is_infinite() && number > 0.0 => "Infinity".into(),
        Some(number) if number.is_infinite() => "-Infinity".into(),
        Some(number) => float_text(number),
        None => value.to_string(),
    }
}
