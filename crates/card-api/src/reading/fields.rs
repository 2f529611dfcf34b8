//! Objects of a request, field by field: one list says what the fields are called, how they
//! parse, and how the OpenAPI document describes them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use super::loose;
use crate::error::ApiError;

/// Fields of an object.
pub(crate) trait Fields: Default {
    /// Reads the value of the field `name` and says that it did; if there is no such field,
    /// says that. Of a field that comes twice the last value is kept.
    ///
    /// # Errors
    /// If the value is wrong.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

impl<A: Fields, B: Fields> Fields for (A, B) {
    fn read<'de, M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<bool, M::Error> {
        Ok(self.0.read(name, map)? || self.1.read(name, map)?)
    }
}

/// Makes structs of optional fields that parse from objects: `"name" | "alias" => field: Type`.
/// A field that is null is absent. They parse without copies of what is read, which serde's
/// `flatten` and `untagged` make.
macro_rules! fields {
    ($(
        $(#[$meta:meta])*
        struct $name:ident {
            $( $(#[$about:meta])* $first:literal $(| $alias:literal)* => $field:ident: $type:ty, )*
        }
    )*) => { $(
        #[derive(Default, schemars::JsonSchema)]
        $(#[$meta])*
        pub(crate) struct $name {
            $( $(#[$about])* pub(crate) $field: Option<$type>, )*
        }

        impl $name {
            /// The fields as the document has them.
            #[cfg(test)]
            #[allow(dead_code)]
            pub(crate) const NAMES: &'static [&'static str] = &[$($first),*];
        }

        impl $crate::reading::fields::Fields for $name {
            fn read<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match name {
                    $( $first $(| $alias)* => self.$field = map.next_value()?, )*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let read: $crate::reading::fields::Read<$name> = serde::Deserialize::deserialize(deserializer)?;
                Ok(read.fields)
            }
        }
    )* };
}
pub(crate) use fields;

/// An object as it was read.
pub(crate) struct Read<T> {
    /// The fields that the object may have.
    pub(crate) fields: T,
    /// How many more fields the object has.
    pub(crate) unknown: usize,
}

impl<T> Read<T> {
    /// Counts a field that no field of the object is called. It is ignored; this is the place to
    /// refuse it.
    fn unknown(&mut self, _name: &str) {
        self.unknown += 1;
    }
}

impl<'de, T: Fields> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object::<T>(PhantomData))
    }
}

/// Reads an object.
struct Object<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for Object<T> {
    type Value = Read<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut read = Read {
            fields: T::default(),
            unknown: 0,
        };
        while let Some(name) = map.next_key::<String>()? {
            if !read.fields.read(&name, &mut map)? {
                read.unknown(&name);
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(read)
    }
}

/// Parses a body, straight from its bytes and in time linear in their number.
///
/// # Errors
/// Names the field that is wrong with its path, like `messages[3].content`, and how.
pub(crate) fn parse<T: Fields>(body: &[u8]) -> Result<Read<T>, ApiError> {
    loose::within_budget(|| {
        let mut json = serde_json::Deserializer::from_slice(body);
        let read: Read<T> =
            serde_path_to_error::deserialize(&mut json).map_err(|error| refusal(&error))?;
        json.end().map_err(|error| not_json(&error))?;
        Ok(read)
    })
}

fn refusal(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let why = error.inner().to_string();
    // Where it is, the path says.
    let why = why
        .rsplit_once(" at line ")
        .map_or(&why[..], |(why, _)| why);
    let path = error.path().to_string();
    let data = error.inner().classify() == Category::Data;
    match path.as_str() {
        "." if data => ApiError::invalid(format!("the body is wrong: {why}")),
        "." => not_json(error.inner()),
        // A number that no computer's fits is a wrong value too.
        path if data || why == "number out of range" => {
            ApiError::field(path, format!("{path}: {why}"))
        }
        _ => not_json(error.inner()),
    }
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("the body is not JSON: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reading::number::Int;

    fields! {
        /// A line.
        #[derive(Debug, PartialEq)]
        struct Line {
            /// How long.
            "length" | "len" => length: Int<0, 9>,
            /// Where it goes on.
            "next" => next: Box<Line>,
        }
    }

    fn line(text: &str) -> Result<Read<Line>, ApiError> {
        parse(text.as_bytes())
    }

    #[test]
    fn fields_have_their_names_and_their_aliases() {
        for text in [
            r#"{"length":3}"#,
            r#"{"len":3}"#,
            r#"{"l\u0065n":3,"x":[{}]}"#,
        ] {
            assert_eq!(line(text).unwrap().fields.length, Some(Int(3)), "{text}");
        }
        assert_eq!(line(r#"{"x":1,"y":2,"x":3}"#).unwrap().unknown, 3);
    }

    #[test]
    fn of_a_field_that_comes_twice_the_last_value_is_kept() {
        let twice = line(r#"{"length":3,"length":4}"#).unwrap();
        assert_eq!(twice.fields.length, Some(Int(4)));
        let gone = line(r#"{"length":3,"length":null}"#).unwrap();
        assert_eq!(gone.fields.length, None);
    }

    #[test]
    fn errors_name_the_field_with_its_path() {
        let cases = [
            (r#"{"next":{"next":{"len":10}}}"#, Some("next.next.len")),
            (r#"{"next":[]}"#, Some("next")),
            (r#"{"length":1e999}"#, Some("length")),
            ("[1]", None),
            ("{", None),
            ("{} x", None),
            ("", None),
        ];
        for (text, path) in cases {
            let error = line(text).err().unwrap();
            assert_eq!(error.param(), path, "{text}: {error:?}");
        }
    }
}
