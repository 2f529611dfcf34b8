//! Objects that have no more fields than are known. A field that nobody knows could change what
//! is asked for, so it is refused by its path; one that is null is absent.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, IgnoredAny, MapAccess};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::fields::{Fields, Read};
use super::loose;
use crate::error::ApiError;
use crate::limits::NAME_BYTES;

/// The fields of an object that has no others.
#[derive(Default)]
pub(crate) struct Strict<T>(pub(crate) T);

impl<T: Fields> Fields for Strict<T> {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if !self.0.read(name, map)? {
            map.next_value::<Option<Unknown>>()?;
        }
        Ok(true)
    }
}

impl<'de, T: Fields> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        loose::count::<D::Error>()?;
        let read: Read<Strict<T>> = Deserialize::deserialize(deserializer)?;
        Ok(read.fields)
    }
}

impl<T: JsonSchema> JsonSchema for Strict<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("Strict<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("additionalProperties".into(), Value::Bool(false));
        schema
    }
}

/// The value of a field that nobody knows: no value is right.
struct Unknown;

impl<'de> Deserialize<'de> for Unknown {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom(
            "there is no such field here, or it is not supported; leave it out",
        ))
    }
}

/// The fields of an object, and the name of one that it has beside them. Whether that is refused
/// is decided when the others are known.
#[derive(Default)]
pub(crate) struct Noted<T> {
    /// The fields that are known.
    pub(crate) fields: T,
    /// The first of those that are not, at most [`NAME_BYTES`] of its name.
    pub(crate) unknown: Option<String>,
}

impl<T: Fields> Fields for Noted<T> {
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        if self.fields.read(name, map)? {
            return Ok(true);
        }
        let given = map.next_value::<Option<IgnoredAny>>()?.is_some();
        if given && self.unknown.is_none() {
            let end = name.floor_char_boundary(NAME_BYTES);
            self.unknown = Some(name[..end].to_owned());
        }
        Ok(true)
    }
}

impl<'de, T: Fields> Deserialize<'de> for Noted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        loose::count::<D::Error>()?;
        let read: Read<Noted<T>> = Deserialize::deserialize(deserializer)?;
        Ok(read.fields)
    }
}

impl<T: JsonSchema> JsonSchema for Noted<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value that has no effect, whatever it is. It is not kept.
pub(crate) struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(Anything)
    }
}

impl JsonSchema for Anything {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

/// Refuses a field that is not supported, unless its value asks for nothing: null, false, zero,
/// an empty text, an empty list or an empty object.
///
/// # Errors
/// If it asks for something; `why` says what the client can do.
pub(crate) fn unsupported(path: &str, value: Option<&Value>, why: &str) -> Result<(), ApiError> {
    let asks = match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
    };
    if asks {
        Err(ApiError::field(path, format!("{path}: {why}")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fields::{self, fields};
    use super::*;
    use crate::reading::number::Int;

    fields! {
        /// A box.
        struct StrictInner {
            /// How wide it is.
            "width" => width: Int<0, 9>,
        }

        /// A box in a box.
        struct Outer {
            /// The inner box.
            "inner" => inner: Strict<StrictInner>,
            /// The other one.
            "noted" => noted: Noted<StrictInner>,
        }
    }

    fn read(text: &str) -> Result<Outer, ApiError> {
        fields::parse::<Strict<Outer>>(text.as_bytes()).map(|read| read.fields.0)
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused_by_its_path() {
        let cases = [
            (r#"{"x":1}"#, "x"),
            (r#"{"inner":{"x":{}}}"#, "inner.x"),
            (r#"{"inner":{"width":3,"x":[]}}"#, "inner.x"),
            (r#"{"inner":{"width":10}}"#, "inner.width"),
        ];
        for (text, path) in cases {
            let error = read(text).err().unwrap();
            assert_eq!(error.param(), Some(path), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_field_that_is_null_is_absent() {
        let outer = read(r#"{"x":null,"inner":{"width":3,"y":null}}"#).unwrap();
        assert_eq!(outer.inner.unwrap().0.width, Some(Int(3)));
    }

    #[test]
    fn the_first_field_that_nobody_knows_is_noted() {
        let outer = read(r#"{"noted":{"a":null,"b":1,"width":2,"c":3}}"#).unwrap();
        let noted = outer.noted.unwrap();
        assert_eq!(noted.unknown.as_deref(), Some("b"));
        assert_eq!(noted.fields.width, Some(Int(2)));
    }

    #[test]
    fn what_asks_for_nothing_is_not_refused() {
        for nothing in ["null", "false", "0", "\"\"", "[]", "{}"] {
            let value: Value = serde_json::from_str(nothing).unwrap();
            assert!(unsupported("x", Some(&value), "no").is_ok(), "{nothing}");
        }
        for something in ["true", "1", "\"a\"", "[0]", "{\"a\":1}"] {
            let value: Value = serde_json::from_str(something).unwrap();
            let error = unsupported("x", Some(&value), "no").unwrap_err();
            assert_eq!(error.param(), Some("x"), "{something}");
        }
    }
}
