//! Fields that are known and not done. They are refused by name, unless they ask for nothing:
//! a request that was answered without them would be answered wrongly.

use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error, MapAccess};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::fields::Fields;
use super::loose::Loose;

/// A field that is refused.
pub(crate) struct RefusedField {
    /// Its name.
    pub(crate) name: &'static str,
    /// The value by which it asks for nothing, beside null, false and what is empty.
    pub(crate) neutral: Neutral,
    /// What the client may do instead.
    pub(crate) instead: &'static str,
}

/// A value by which a field asks for nothing.
pub(crate) enum Neutral {
    /// Only null, false and what is empty.
    Empty,
    /// This number.
    Number(f64),
    /// One of these words, or a list of nothing else.
    Words(&'static [&'static str]),
    /// True; false asks for something then.
    True,
    /// An object that has none but these members.
    Members(&'static [&'static str]),
}

/// The known fields of a path that are not done.
pub(crate) trait OtherFields {
    /// Those that are refused, in groups.
    const REFUSED: &'static [&'static [RefusedField]];
    /// Those that are ignored since they change nothing here, with the reason.
    const WITHOUT_EFFECT: &'static [&'static [(&'static str, &'static str)]];
}

/// Reads the fields of a path that are not done: nothing is kept of them.
pub(crate) struct Others<T>(PhantomData<T>);

impl<T> Default for Others<T> {
    fn default() -> Self {
        Others(PhantomData)
    }
}

impl<T: OtherFields> Fields for Others<T> {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let mut refused = T::REFUSED.iter().copied().flatten();
        let Some(field) = refused.find(|f| f.name == name) else {
            return Ok(false);
        };
        map.next_value_seed(field)?;
        Ok(true)
    }
}

impl RefusedField {
    fn asks_nothing(&self, value: &Value) -> bool {
        let word =
            |text: &str| matches!(self.neutral, Neutral::Words(words) if words.contains(&text));
        let member =
            |name: &str| matches!(self.neutral, Neutral::Members(all) if all.contains(&name));
        match value {
            Value::Null => true,
            Value::Bool(value) => *value == matches!(self.neutral, Neutral::True),
            Value::Number(value) => {
                matches!(self.neutral, Neutral::Number(n) if value.as_f64() == Some(n))
            }
            Value::String(text) => text.is_empty() || word(text),
            Value::Array(list) => list.iter().all(|v| v.as_str().is_some_and(word)),
            Value::Object(fields) => fields.keys().all(|name| member(name)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &RefusedField {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let value = Option::<Loose>::deserialize(deserializer)?;
        if value.is_none_or(|value| self.asks_nothing(&value.0)) {
            return Ok(());
        }
        Err(D::Error::custom(format_args!(
            "this server does not do `{}`; {}",
            self.name, self.instead
        )))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reading::fields::{Read, parse};

    enum Odd {}

    impl OtherFields for Odd {
        const REFUSED: &'static [&'static [RefusedField]] = &[&[
            RefusedField {
                name: "beams",
                neutral: Neutral::Number(1.0),
                instead: "leave it out",
            },
            RefusedField {
                name: "modalities",
                neutral: Neutral::Words(&["text"]),
                instead: "ask for text",
            },
            RefusedField {
                name: "prompted",
                neutral: Neutral::True,
                instead: "leave it out",
            },
            RefusedField {
                name: "settings",
                neutral: Neutral::Members(&["threads", "layers"]),
                instead: "leave it out",
            },
        ]];
        const WITHOUT_EFFECT: &'static [&'static [(&'static str, &'static str)]] = &[];
    }

    fn refused(body: &str) -> Option<String> {
        let read: Result<Read<Others<Odd>>, _> = parse(body.as_bytes());
        read.err().and_then(|e| e.param().map(str::to_owned))
    }

    #[test]
    fn what_asks_for_nothing_passes_and_what_asks_is_named() {
        for body in [
            r#"{"beams":1,"modalities":["text"],"prompted":true}"#,
            r#"{"beams":null,"modalities":"text"}"#,
            r#"{"beams":1.0,"modalities":[],"prompted":null,"other":7}"#,
            r#"{"settings":{}}"#,
            r#"{"settings":{"threads":4,"layers":[1]}}"#,
        ] {
            assert_eq!(refused(body), None, "{body}");
        }
        for (body, field) in [
            (r#"{"beams":2}"#, "beams"),
            (r#"{"beams":true}"#, "beams"),
            (r#"{"beams":{"a":1}}"#, "beams"),
            (r#"{"modalities":["text","audio"]}"#, "modalities"),
            (r#"{"modalities":[["text"]]}"#, "modalities"),
            (r#"{"prompted":false}"#, "prompted"),
            (r#"{"prompted":"yes"}"#, "prompted"),
            (r#"{"settings":{"threads":4,"heat":1}}"#, "settings"),
            (r#"{"settings":["threads"]}"#, "settings"),
        ] {
            assert_eq!(refused(body).as_deref(), Some(field), "{body}");
        }
    }
}
