//! JSON whose form is the client's: schemas, tools, fields of messages.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::limits::VALUES;

thread_local! {
    /// How many more values the request that this thread parses may have. It is here since
    /// serde has no way to hand something down to the fields of a derived type.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Runs `parse`, in which at most [`VALUES`] values of any form may come up.
pub(crate) fn within_budget<T>(parse: impl FnOnce() -> T) -> T {
    LEFT.set(VALUES);
    let parsed = parse();
    LEFT.set(0);
    parsed
}

/// The value that a text is, if it is JSON of at most [`VALUES`] values.
pub(crate) fn value_of(text: &str) -> Option<Value> {
    let parsed: Option<Loose> = within_budget(|| serde_json::from_str(text)).ok();
    parsed.map(|parsed| parsed.0)
}

/// Counts a value.
///
/// # Errors
/// If there were too many.
pub(crate) fn count<E: Error>() -> Result<(), E> {
    let left = LEFT.get();
    LEFT.set(left.saturating_sub(1));
    match left {
        0 => Err(E::custom(format_args!(
            "the messages, tools and schemas of the request have more than {VALUES} values; \
             shorten them"
        ))),
        _ => Ok(()),
    }
}

/// Any JSON value, counted. Of a key that comes twice the last value is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loose(pub(crate) Value);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        count::<D::Error>()?;
        deserializer.deserialize_any(AnyValue).map(Loose)
    }
}

impl JsonSchema for Loose {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Loose".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Loose(value)) = seq.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Loose(value))) = map.next_entry::<String, Loose>()? {
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{from_str, json};

    #[test]
    fn a_value_is_what_serde_json_makes_of_it() {
        let texts = [
            r#"{"a":[1,-2,0.5,null,true,"\u00e9"],"b":{},"a":{"c":[]}}"#,
            "[[[[]]]]",
            "1e300",
        ];
        for text in texts {
            let loose: Loose = within_budget(|| from_str(text)).unwrap();
            assert_eq!(loose.0, from_str::<Value>(text).unwrap());
        }
        let twice: Loose = within_budget(|| from_str(r#"{"a":1,"a":2}"#)).unwrap();
        assert_eq!(twice.0, json!({ "a": 2 }));
    }

    #[test]
    fn values_are_counted_wherever_they_are() {
        let fits = format!("[{}0]", "0,".repeat(VALUES - 2));
        assert!(within_budget(|| from_str::<Loose>(&fits)).is_ok());
        let more = format!("[{}0]", "0,".repeat(VALUES - 1));
        assert!(within_budget(|| from_str::<Loose>(&more)).is_err());
        let nested = format!("[{}[]]", "[{}],".repeat(VALUES / 2));
        let refused = within_budget(|| from_str::<Loose>(&nested)).unwrap_err();
        assert!(refused.is_data(), "{refused}");
        assert_eq!(value_of(&more), None);
        assert_eq!(value_of("[1]"), Some(json!([1])));
        // The next request has a budget of its own.
        assert!(within_budget(|| from_str::<Loose>("[1]")).is_ok());
    }
}
