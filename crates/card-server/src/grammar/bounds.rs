//! What a schema may have, so that compiling it takes a bounded time and memory.
//!
//! llguidance bounds what it does by fuel, but not everything: the time for a list of
//! required properties grows with its square, a pattern takes some 250 times its length in
//! memory, and the derivative of an intersection of n patterns has up to 2^n parts, all of
//! which one step makes (16 of them took 3 s and 240 MiB; measured with 1.9.1). So these are
//! bounded here, before it sees them.

use std::collections::BTreeSet;

use serde_json::Value;

/// Values of all kinds, at any depth.
const MOST_VALUES: usize = 20_000;
/// Bytes of all strings and keys.
const MOST_TEXT: usize = 256 << 10;
/// Properties, required properties and alternatives of one object, each.
const MOST_MEMBERS: usize = 2_000;
/// Bytes of one pattern.
const LONGEST_PATTERN: usize = 8 << 10;
/// Bytes of all patterns.
const MOST_PATTERNS: usize = 32 << 10;
/// Different patterns and formats in a schema that may want several of the same text.
const MOST_TOGETHER: usize = 10;

/// Keywords that demand nothing of a text.
const SAYS_NOTHING: [&str; 12] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "discriminator",
    "examples",
    "readOnly",
    "title",
];
/// Largest bound of a number: beyond it not every whole number has a double of its own.
const LARGEST_NUMBER: f64 = 9_007_199_254_740_992.0;

/// Why a schema is too much: the path of the keyword, and the reason.
#[derive(Debug, PartialEq)]
pub(crate) struct TooMuch {
    /// Like `properties.name.pattern`; empty for the whole schema.
    pub(crate) path: String,
    /// For the client.
    pub(crate) why: String,
}

/// Whether the schemas of a request can be compiled with bounded effort, all together.
pub(crate) fn check<'a>(schemas: impl Iterator<Item = &'a Value>) -> Result<(), TooMuch> {
    let mut seen = Seen::default();
    for schema in schemas {
        seen.look(schema, &mut Vec::new())?;
    }
    if seen.intersects && seen.patterns.len() > MOST_TOGETHER {
        return Err(TooMuch {
            path: String::new(),
            why: format!(
                "with allOf, or keywords beside anyOf, oneOf or $ref, at most {MOST_TOGETHER} different patterns \
                 and formats are possible, and there are {}",
                seen.patterns.len()
            ),
        });
    }
    Ok(())
}

#[derive(Default)]
struct Seen<'a> {
    values: usize,
    text: usize,
    pattern_bytes: usize,
    /// Different patterns and formats.
    patterns: BTreeSet<&'a str>,
    /// Whether one text may have to fit several patterns, whose intersection is costly.
    intersects: bool,
}

impl<'a> Seen<'a> {
    fn look(&mut self, value: &'a Value, path: &mut Vec<&'a str>) -> Result<(), TooMuch> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(too_much(
                &[],
                format!("it has more than {MOST_VALUES} values"),
            ));
        }
        match value {
            Value::String(text) => self.read(text)?,
            Value::Array(all) => {
                if all.len() > MOST_MEMBERS {
                    let why = format!(
                        "a list of {}; at most {MOST_MEMBERS} are possible",
                        all.len()
                    );
                    return Err(too_much(path, why));
                }
                for one in all {
                    self.look(one, path)?;
                }
            }
            Value::Object(all) => {
                if all.len() > MOST_MEMBERS {
                    let why = format!("{} keys; at most {MOST_MEMBERS} are possible", all.len());
                    return Err(too_much(path, why));
                }
                // What stands beside a choice or a reference holds for what is chosen too.
                let choice = |key: &String| matches!(key.as_str(), "anyOf" | "oneOf" | "$ref");
                let beside = |key: &String| !choice(key) && !SAYS_NOTHING.contains(&key.as_str());
                let choices = all.keys().filter(|k| choice(k)).count();
                self.intersects |= all.contains_key("allOf")
                    || choices > 1
                    || (choices > 0 && all.keys().any(beside))
                    || (all.contains_key("pattern") && all.contains_key("format"))
                    || (all.contains_key("patternProperties") && all.contains_key("properties"));
                for (key, one) in all {
                    self.read(key)?;
                    path.push(key);
                    self.keyword(key, one, path)?;
                    self.look(one, path)?;
                    path.pop();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read(&mut self, text: &str) -> Result<(), TooMuch> {
        self.text += text.len();
        if self.text > MOST_TEXT {
            return Err(too_much(
                &[],
                format!("it has more than {MOST_TEXT} bytes of text"),
            ));
        }
        Ok(())
    }

    /// A key may be a keyword or the name of a property; either way it is counted as one.
    fn keyword(&mut self, key: &str, value: &'a Value, path: &[&str]) -> Result<(), TooMuch> {
        match (key, value) {
            ("pattern", Value::String(pattern)) => self.pattern(pattern, path),
            ("format", Value::String(format)) => {
                self.patterns.insert(format);
                Ok(())
            }
            ("patternProperties", Value::Object(all)) => {
                self.intersects |= all.len() > 1;
                all.keys()
                    .try_for_each(|pattern| self.pattern(pattern, path))
            }
            (
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf",
                Value::Number(bound),
            ) if bound.as_f64().is_none_or(|b| b.abs() > LARGEST_NUMBER) => {
                let why = format!("a bound beyond ±{LARGEST_NUMBER}");
                Err(too_much(path, why))
            }
            _ => Ok(()),
        }
    }

    fn pattern(&mut self, pattern: &'a str, path: &[&str]) -> Result<(), TooMuch> {
        if pattern.len() > LONGEST_PATTERN {
            let why = format!(
                "a pattern of {} bytes; at most {LONGEST_PATTERN} are possible",
                pattern.len()
            );
            return Err(too_much(path, why));
        }
        self.patterns.insert(pattern);
        self.pattern_bytes += pattern.len();
        if self.pattern_bytes > MOST_PATTERNS {
            let why = format!("all patterns together have more than {MOST_PATTERNS} bytes");
            return Err(too_much(path, why));
        }
        Ok(())
    }
}

fn too_much(path: &[&str], why: String) -> TooMuch {
    TooMuch {
        path: path.join("."),
        why,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patterns(n: usize) -> Vec<Value> {
        (0..n)
            .map(|i| json!({ "type": "string", "pattern": format!(".*{i}.*") }))
            .collect()
    }

    #[test]
    fn what_takes_more_than_it_says_is_refused_with_its_place() {
        let many: Vec<String> = (0..5000).map(|i| format!("p{i}")).collect();
        let cases = [
            (
                json!({ "properties": { "a": { "pattern": "a|".repeat(5000) } } }),
                "properties.a.pattern",
            ),
            (json!({ "required": many }), "required"),
            (json!({ "enum": ["a".repeat(1 << 19)] }), ""),
            (json!({ "allOf": patterns(11) }), ""),
            (json!({ "items": { "minimum": -1e300 } }), "items.minimum"),
            (json!({ "maximum": u64::MAX }), "maximum"),
            (
                json!({ "$defs": { "a": patterns(11) }, "$ref": "#/$defs/a", "type": "string" }),
                "",
            ),
            (
                json!({ "anyOf": vec![json!({ "anyOf": vec![json!({}); 1500] }); 20] }),
                "",
            ),
        ];
        for (schema, path) in cases {
            let refused = check([&schema].into_iter());
            assert_eq!(
                refused.as_ref().err().map(|e| e.path.as_str()),
                Some(path),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn conditions_that_add_up_are_found_however_they_are_written() {
        let mut nested = json!({ "pattern": "a" });
        for i in 0..12 {
            nested = json!({ "pattern": format!(".*{i}.*"), "anyOf": [nested] });
        }
        assert!(check([&nested].into_iter()).is_err());
        let mut crossed = json!({ "pattern": "a" });
        for i in 0..12 {
            let other = json!({ "pattern": format!(".*{i}.*") });
            crossed =
                json!({ "properties": { "a": crossed }, "patternProperties": { "^a$": other } });
        }
        assert!(check([&crossed].into_iter()).is_err());
        // All tools of a request have one budget.
        let tool = json!({ "pattern": "a".repeat(LONGEST_PATTERN) });
        assert!(check(std::iter::repeat_n(&tool, 4)).is_ok());
        assert!(check(std::iter::repeat_n(&tool, 5)).is_err());
    }

    #[test]
    fn what_people_send_is_not() {
        let user = json!({ "type": "object", "additionalProperties": false,
            "properties": { "mail": { "type": "string", "format": "email" },
                "tags": { "type": "array", "items": { "enum": ["a", "b"] }, "maxItems": 65536 } } });
        let whole = json!({ "$defs": { "user": user }, "anyOf": [{ "$ref": "#/$defs/user" }, { "allOf": patterns(5) }] });
        assert_eq!(check([&whole].into_iter()), Ok(()));
        // Many patterns are no harm where each text has to fit one.
        let many = json!({ "title": "t", "anyOf": patterns(100) });
        assert_eq!(check([&many].into_iter()), Ok(()));
    }
}
