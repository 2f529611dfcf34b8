//! Lists and texts of a bounded length: what is longer is refused while it is read, not after.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits;

/// A list of at most `MOST`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bounded<T, const MOST: usize>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
    }
}

impl<T: JsonSchema, const MOST: usize> JsonSchema for Bounded<T, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("List_of_{}_{MOST}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": items, "maxItems": MOST })
    }
}

/// Reads a list.
struct List<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
    type Value = Bounded<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            room::<A::Error>(list.len(), MOST)?;
            list.push(item);
        }
        Ok(Bounded(list))
    }
}

/// Whether there is room for one more.
///
/// # Errors
/// If not; it says how many there may be.
pub(crate) fn room<E: Error>(count: usize, most: usize) -> Result<(), E> {
    if count < most {
        return Ok(());
    }
    Err(E::custom(format_args!(
        "there are more than {most}, which is the most there may be"
    )))
}

/// A name: of a model, a function, a role or a type.
pub(crate) type Name = Text<0, { limits::NAME_BYTES }>;

/// A text of `MIN` to `MAX` bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text<const MIN: usize, const MAX: usize>(pub(crate) String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// The text, if it is within the bounds.
    ///
    /// # Errors
    /// If it is too short or too long.
    pub(crate) fn new<E: Error>(text: &str) -> Result<Self, E> {
        if (MIN..=MAX).contains(&text.len()) {
            return Ok(Text(text.to_owned()));
        }
        Err(E::custom(format_args!(
            "a text of {} bytes is not within {MIN} to {MAX}",
            text.len()
        )))
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Words::<MIN, MAX>)
    }
}

impl<const MIN: usize, const MAX: usize> JsonSchema for Text<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        match MIN {
            0 => json_schema!({ "type": "string", "maxLength": MAX }),
            _ => json_schema!({ "type": "string", "minLength": MIN, "maxLength": MAX }),
        }
    }
}

/// Reads a text.
struct Words<const MIN: usize, const MAX: usize>;

impl<const MIN: usize, const MAX: usize> Visitor<'_> for Words<MIN, MAX> {
    type Value = Text<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of {MIN} to {MAX} bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Text::new(text)
    }
}
