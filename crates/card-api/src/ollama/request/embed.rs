//! `/api/embed` and `/api/embeddings`: vectors of texts.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use crate::limits::INPUTS;
use crate::reading::bounded::{Name, room};
use crate::reading::fields::{self, fields};
use crate::reading::number::Int;
use crate::reading::strict::{Anything, Strict};

fields! {
    /// Texts that shall become vectors.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct EmbedFields {
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
        /// The texts: one, or a list.
        #[schemars(required)]
        "input" => input: EmbedInput,
        /// Cut off the end of a text that is too long, which is the default; with false such a
        /// text is an error.
        "truncate" => truncate: bool,
        /// How many numbers a vector shall have: as many as the model gives, or fewer where the
        /// server says that the model was trained for it (--matryoshka).
        "dimensions" => dimensions: Int<1, { i32::MAX as i64 }>,
        /// Without effect: nothing is sampled.
        "options" => options: Anything,
        /// Without effect: the model stays as long as the server runs.
        "keep_alive" => keep_alive: Anything,
    }

    /// A text that shall become a vector.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct EmbeddingsFields {
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
        /// The text.
        #[schemars(required)]
        "prompt" => prompt: String,
        /// Without effect: nothing is sampled.
        "options" => options: Anything,
        /// Without effect: the model stays as long as the server runs.
        "keep_alive" => keep_alive: Anything,
    }
}

/// One text, or a list.
pub(crate) struct EmbedInput(Vec<String>);

impl<'de> Deserialize<'de> for EmbedInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyTexts)
    }
}

impl JsonSchema for EmbedInput {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OllamaEmbedInput".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" }, "maxItems": INPUTS },
            ],
        })
    }
}

struct OneOrManyTexts;

impl<'de> Visitor<'de> for OneOrManyTexts {
    type Value = EmbedInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<EmbedInput, E> {
        Ok(EmbedInput(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<EmbedInput, A::Error> {
        let mut list = Vec::new();
        while let Some(text) = seq.next_element()? {
            room::<A::Error>(list.len(), INPUTS)?;
            list.push(text);
        }
        Ok(EmbedInput(list))
    }
}

/// Texts that shall become vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedRequest {
    /// The model's name as the client gave it.
    pub model: Option<String>,
    /// The texts.
    pub inputs: Vec<String>,
    /// The field that they stood in.
    pub field: &'static str,
    /// Cut off the end of a text that is too long.
    pub truncate: bool,
    /// How many numbers a vector shall have.
    pub dimensions: Option<usize>,
}

/// Parses the body of `/api/embed`.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_embed(body: &[u8]) -> Result<EmbedRequest, ApiError> {
    let read = fields::parse::<Strict<EmbedFields>>(body)?.fields.0;
    let inputs = read.input;
    let inputs = inputs.ok_or_else(|| ApiError::field("input", "`input` must be a text"))?;
    Ok(EmbedRequest {
        model: read.model.map(|model| model.0),
        inputs: inputs.0,
        field: "input",
        truncate: read.truncate.unwrap_or(true),
        dimensions: read.dimensions.map(|n| n.0 as usize),
    })
}

/// Parses the body of `/api/embeddings`, the older path.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_embeddings(body: &[u8]) -> Result<EmbedRequest, ApiError> {
    let read = fields::parse::<Strict<EmbeddingsFields>>(body)?.fields.0;
    let prompt = read.prompt;
    let prompt = prompt.ok_or_else(|| ApiError::field("prompt", "`prompt` must be a text"))?;
    Ok(EmbedRequest {
        model: read.model.map(|model| model.0),
        inputs: vec![prompt],
        field: "prompt",
        truncate: true,
        dimensions: None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_alone_or_in_a_list() {
        let one = parse_embed(br#"{"model":"m","input":"a"}"#).unwrap();
        assert_eq!((one.inputs.len(), one.truncate), (1, true));
        let many = parse_embed(br#"{"input":["a","b"],"truncate":false,"options":{}}"#).unwrap();
        assert_eq!((many.inputs.len(), many.truncate), (2, false));
        let old = parse_embeddings(br#"{"model":"m","prompt":"a"}"#).unwrap();
        assert_eq!(old.inputs, ["a"]);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (body, field) in [
            (r#"{"model":"m"}"#, "input"),
            (r#"{"input":[1]}"#, "input[0]"),
            (r#"{"input":"a","prompt":"b"}"#, "prompt"),
            (r#"{"input":"a","dimensions":0}"#, "dimensions"),
        ] {
            let error = parse_embed(body.as_bytes()).unwrap_err();
            assert_eq!(error.param(), Some(field), "{body}");
        }
        let error = parse_embeddings(br#"{"input":"a"}"#).unwrap_err();
        assert_eq!(error.param(), Some("input"));
    }
}
