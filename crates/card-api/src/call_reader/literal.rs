//! Values as Python or Gemma writes them, made JSON character by character.

use super::json_text::{json_word, text_of};

/// In which words a value is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LiteralStyle {
    /// `'text'`, `"text"`, `True`, `None`, `{'key': 1}`; JSON's words too.
    Python,
    /// `<|"|>text<|"|>`, `true`, `{key:1}`.
    Gemma,
}

/// What a character did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LiteralStep {
    /// The value goes on.
    Goes,
    /// The value ended before the character.
    Before,
    /// The value ended with the character.
    With,
    /// There is no value.
    Wrong,
}

/// What stands around a text of Gemma's.
const QUOTE: &str = "<|\"|>";
/// Longest word or number, in bytes.
const LONGEST_WORD: usize = 256;
/// How deep a value may be.
const DEEPEST: usize = 128;

/// Makes JSON of one value.
#[derive(Debug)]
pub(super) struct LiteralReader {
    style: LiteralStyle,
    at: LiteralPlace,
    /// The objects (`true`) and lists around the place.
    around: Vec<bool>,
    /// Whether a comma was read that is not written: nothing may follow it.
    comma: bool,
    /// A word, or what may be a mark.
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum LiteralPlace {
    /// Before a value.
    Value,
    /// Before a key, or the end of the object.
    Key,
    /// Behind a key.
    Colon,
    /// Behind a value.
    Behind,
    /// In a word or a number; `true` for a key.
    Word(bool),
    /// In a text that this character ends; `true` for a key.
    Text(char, bool),
    /// Behind a backslash in such a text.
    Escape(char, bool),
    /// In the digits behind `\x` or `\u`, of which so many are to come.
    Digits(char, bool, u8),
    /// In the mark before a text of Gemma's; `true` for a key.
    Mark(bool),
    /// In such a text.
    Marked(bool),
}

impl LiteralReader {
    /// Nothing of the value was read.
    pub(super) fn new(style: LiteralStyle) -> Self {
        LiteralReader {
            style,
            at: LiteralPlace::Value,
            around: Vec::new(),
            comma: false,
            held: String::new(),
        }
    }

    /// The value is an object whose opening brace was read.
    pub(super) fn in_object(style: LiteralStyle) -> Self {
        LiteralReader {
            at: LiteralPlace::Key,
            around: vec![true],
            ..Self::new(style)
        }
    }

    /// Takes a character; writes what it is in JSON.
    pub(super) fn step(&mut self, c: char, json: &mut String) -> LiteralStep {
        match self.at {
            LiteralPlace::Value => self.value(c, json),
            LiteralPlace::Key => self.key(c, json),
            LiteralPlace::Colon if c == ':' => {
                json.push(':');
                self.at = LiteralPlace::Value;
                LiteralStep::Goes
            }
            LiteralPlace::Colon if c.is_whitespace() => LiteralStep::Goes,
            LiteralPlace::Colon => LiteralStep::Wrong,
            LiteralPlace::Behind => self.behind(c, json),
            LiteralPlace::Word(key) => self.word(c, key, json),
            LiteralPlace::Text(end, key) => self.text(c, end, key, json),
            LiteralPlace::Escape(end, key) => self.escape(c, end, key, json),
            LiteralPlace::Digits(end, key, left) => self.digits(c, end, key, left, json),
            LiteralPlace::Mark(key) => self.mark(c, key, json),
            LiteralPlace::Marked(key) => self.marked(c, key, json),
        }
    }

    fn value(&mut self, c: char, json: &mut String) -> LiteralStep {
        match c {
            c if c.is_whitespace() => {}
            '{' | '[' => {
                if self.around.len() >= DEEPEST {
                    return LiteralStep::Wrong;
                }
                self.around.push(c == '{');
                self.write_comma(json);
                json.push(c);
                self.at = if c == '{' {
                    LiteralPlace::Key
                } else {
                    LiteralPlace::Value
                };
            }
            // A list of nothing, or a comma behind the last value.
            ']' if self.around.last() == Some(&false) => return self.close(c, json),
            _ => return self.begin(c, false, json),
        }
        LiteralStep::Goes
    }

    fn key(&mut self, c: char, json: &mut String) -> LiteralStep {
        match c {
            c if c.is_whitespace() => LiteralStep::Goes,
            '}' => self.close(c, json),
            _ => self.begin(c, true, json),
        }
    }

    /// A text or a word begins with this character.
    fn begin(&mut self, c: char, key: bool, json: &mut String) -> LiteralStep {
        self.write_comma(json);
        match c {
            '"' | '\'' if self.style == LiteralStyle::Python => {
                json.push('"');
                self.at = LiteralPlace::Text(c, key);
            }
            '<' if self.style == LiteralStyle::Gemma => {
                self.held.push(c);
                self.at = LiteralPlace::Mark(key);
            }
            c if is_in_word(c) => {
                self.held.push(c);
                self.at = LiteralPlace::Word(key);
            }
            _ => return LiteralStep::Wrong,
        }
        LiteralStep::Goes
    }

    fn behind(&mut self, c: char, json: &mut String) -> LiteralStep {
        let Some(&object) = self.around.last() else {
            return LiteralStep::Before;
        };
        match (c, object) {
            (c, _) if c.is_whitespace() => LiteralStep::Goes,
            (',', object) => {
                self.comma = true;
                self.at = if object {
                    LiteralPlace::Key
                } else {
                    LiteralPlace::Value
                };
                LiteralStep::Goes
            }
            ('}', true) | (']', false) => self.close(c, json),
            _ => LiteralStep::Wrong,
        }
    }

    fn close(&mut self, c: char, json: &mut String) -> LiteralStep {
        self.comma = false;
        json.push(c);
        self.around.pop();
        self.at = LiteralPlace::Behind;
        if self.around.is_empty() {
            LiteralStep::With
        } else {
            LiteralStep::Goes
        }
    }

    fn write_comma(&mut self, json: &mut String) {
        if std::mem::take(&mut self.comma) {
            json.push(',');
        }
    }

    /// Behind a key or a value.
    fn ended(&mut self, key: bool) {
        self.at = if key {
            LiteralPlace::Colon
        } else {
            LiteralPlace::Behind
        };
    }

    fn word(&mut self, c: char, key: bool, json: &mut String) -> LiteralStep {
        if is_in_word(c) {
            self.held.push(c);
            return if self.held.len() > LONGEST_WORD {
                LiteralStep::Wrong
            } else {
                LiteralStep::Goes
            };
        }
        let word = std::mem::take(&mut self.held);
        json.push_str(&if key { text_of(&word) } else { word_of(&word) });
        self.ended(key);
        self.step(c, json)
    }

    fn text(&mut self, c: char, end: char, key: bool, json: &mut String) -> LiteralStep {
        match c {
            '\\' => self.at = LiteralPlace::Escape(end, key),
            c if c == end => {
                json.push('"');
                self.ended(key);
                if !key && self.around.is_empty() {
                    return LiteralStep::With;
                }
            }
            c => write(c, json),
        }
        LiteralStep::Goes
    }

    fn escape(&mut self, c: char, end: char, key: bool, json: &mut String) -> LiteralStep {
        self.at = LiteralPlace::Text(end, key);
        match c {
            'n' => json.push_str("\\n"),
            't' => json.push_str("\\t"),
            'r' => json.push_str("\\r"),
            '\\' | '"' | '\'' | '/' => write(c, json),
            // A line that goes on.
            '\n' => {}
            'x' => self.at = LiteralPlace::Digits(end, key, 2),
            'u' => self.at = LiteralPlace::Digits(end, key, 4),
            // Python keeps a backslash that means nothing.
            c => {
                write('\\', json);
                write(c, json);
            }
        }
        LiteralStep::Goes
    }

    fn digits(
        &mut self,
        c: char,
        end: char,
        key: bool,
        left: u8,
        json: &mut String,
    ) -> LiteralStep {
        if !c.is_ascii_hexdigit() {
            return LiteralStep::Wrong;
        }
        self.held.push(c);
        if left > 1 {
            self.at = LiteralPlace::Digits(end, key, left - 1);
            return LiteralStep::Goes;
        }
        let digits = std::mem::take(&mut self.held);
        json.push_str(&format!("\\u{digits:0>4}"));
        self.at = LiteralPlace::Text(end, key);
        LiteralStep::Goes
    }

    fn mark(&mut self, c: char, key: bool, json: &mut String) -> LiteralStep {
        self.held.push(c);
        if !QUOTE.starts_with(self.held.as_str()) {
            return LiteralStep::Wrong;
        }
        if self.held == QUOTE {
            self.held.clear();
            json.push('"');
            self.at = LiteralPlace::Marked(key);
        }
        LiteralStep::Goes
    }

    fn marked(&mut self, c: char, key: bool, json: &mut String) -> LiteralStep {
        self.held.push(c);
        if self.held == QUOTE {
            self.held.clear();
            json.push('"');
            self.ended(key);
            return if !key && self.around.is_empty() {
                LiteralStep::With
            } else {
                LiteralStep::Goes
            };
        }
        // No beginning of the mark but its first character begins it again.
        while !QUOTE.starts_with(self.held.as_str()) {
            write(self.held.remove(0), json);
        }
        LiteralStep::Goes
    }
}

/// Whether a character may be in a word or a number.
fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | '/' | '$' | '%' | '@')
}

/// A word as JSON.
fn word_of(word: &str) -> String {
    let word = json_word(word);
    let known = matches!(word, "true" | "false" | "null");
    let is_json = known || serde_json::from_str::<serde_json::Number>(word).is_ok();
    if is_json {
        word.to_owned()
    } else {
        text_of(word)
    }
}

/// A character within a text of JSON.
fn write(c: char, json: &mut String) {
    match c {
        '"' => json.push_str("\\\""),
        '\\' => json.push_str("\\\\"),
        '\n' => json.push_str("\\n"),
        '\r' => json.push_str("\\r"),
        '\t' => json.push_str("\\t"),
        c if u32::from(c) < 0x20 => json.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => json.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(style: LiteralStyle, text: &str) -> (String, LiteralStep) {
        let (mut reader, mut json) = (LiteralReader::new(style), String::new());
        for c in text.chars() {
            match reader.step(c, &mut json) {
                LiteralStep::Goes => {}
                end => return (json, end),
            }
        }
        (json, LiteralStep::Goes)
    }

    #[test]
    fn values_of_python_become_json() {
        for (text, json) in [
            ("'a\\'b'", r#""a'b""#),
            ("\"a\\n\\x41\\u00e9\" ", "\"a\\n\\u0041\\u00e9\""),
            ("[True, None, -1.5,]", "[true,null,-1.5]"),
            ("{'a': {\"b\": []}}", r#"{"a":{"b":[]}}"#),
            ("red)", r#""red""#),
            ("3)", "3"),
            ("{}", "{}"),
        ] {
            let (found, end) = read(LiteralStyle::Python, text);
            assert_eq!(found, json, "{text}");
            assert_ne!(end, LiteralStep::Goes, "{text}");
        }
        for text in ["[1}", "(", "'\\uzz'", "{1 2}"] {
            assert_eq!(
                read(LiteralStyle::Python, text).1,
                LiteralStep::Wrong,
                "{text}"
            );
        }
    }

    #[test]
    fn values_of_gemma_become_json() {
        for (text, json) in [
            ("<|\"|>a <|\" b<|\"|>", r#""a <|\" b""#),
            (
                "{a:{b:[<|\"|>x<|\"|>,1.5e10]},c:true}",
                r#"{"a":{"b":["x",1.5e10]},"c":true}"#,
            ),
        ] {
            assert_eq!(
                read(LiteralStyle::Gemma, text),
                (json.to_owned(), LiteralStep::With)
            );
        }
    }
}
