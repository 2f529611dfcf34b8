//! Vectors of texts: `/v1/embeddings` as OpenAI has it, `/embedding` and `/embeddings` as
//! llama-server has it.

use schemars::JsonSchema;
use serde::Serialize;

use super::prompt::{ManyPrompts, MixedPrompt};
use crate::error::ApiError;
use crate::limits;
use crate::reading::bounded::Name;
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::Int;
use crate::reading::refused::{Neutral, OtherFields, Others, RefusedField};

/// The texts of a request.
type Inputs = ManyPrompts<{ limits::INPUTS }>;

/// The largest order of a norm.
const MOST_NORM: i64 = 1000;

fields! {
    /// Texts that shall become vectors.
    struct EmbeddingFields {
        /// The texts: one, or a list. Tokens may stand in place of a text.
        "input" => input: Inputs,
        /// The same, in llama-server's word; the answer has llama-server's form then.
        "content" => content: Inputs,
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
        /// `float`, or `base64` for the bytes of the numbers (32 bits each, the low byte first).
        "encoding_format" => encoding_format: Name,
        /// How many numbers a vector shall have: as many as the model gives, or fewer where the
        /// server says that the model was trained for it (--matryoshka). The first ones are kept,
        /// and normalised.
        "dimensions" => dimensions: Int<1, { i32::MAX as i64 }>,
        /// What becomes 1 of a vector: -1 for nothing, 0 for the largest number (then 32760), 1 for
        /// the sum, 2 for the length (the default), larger ones for the norm of that order.
        "embd_normalize" => normalize: Int<-1, MOST_NORM>,
    }
}

/// The known fields that are not done.
enum OfEmbedding {}

impl OtherFields for OfEmbedding {
    const REFUSED: &'static [&'static [RefusedField]] = &[&[
        RefusedField {
            name: "truncate_prompt_tokens",
            neutral: Neutral::Number(-1.0),
            instead: "send shorter texts",
        },
        RefusedField {
            name: "add_special_tokens",
            neutral: Neutral::True,
            instead: "send tokens in place of a text",
        },
    ]];
    const WITHOUT_EFFECT: &'static [&'static [(&'static str, &'static str)]] =
        &[&[("user", "who asks is told by the key")]];
}

/// Texts that shall become vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingRequest {
    /// The texts; at least one.
    pub inputs: Vec<MixedPrompt>,
    /// The field that they stood in.
    pub field: &'static str,
    /// Whether vectors come as bytes, in base64.
    pub base64: bool,
    /// How many numbers a vector shall have.
    pub dimensions: Option<usize>,
    /// The order of the norm that becomes 1; -1 for none, 0 for the largest number.
    pub normalize: Option<i32>,
}

/// Parses a body that asks for vectors.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_embedding(body: &[u8]) -> Result<EmbeddingRequest, ApiError> {
    let read: Read<(EmbeddingFields, Others<OfEmbedding>)> = fields::parse(body)?;
    let (fields, _) = read.fields;
    let (inputs, field) = match (fields.input, fields.content) {
        (Some(inputs), _) => (inputs, "input"),
        (None, Some(inputs)) => (inputs, "content"),
        (None, None) => {
            let why = "`input` (or `content`) must have a text";
            return Err(ApiError::field("input", why));
        }
    };
    let format = fields.encoding_format.map(|word| word.0);
    let base64 = match format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let why = "`encoding_format` is float or base64";
            return Err(ApiError::field("encoding_format", why));
        }
    };
    Ok(EmbeddingRequest {
        inputs: inputs.0,
        field,
        base64,
        dimensions: fields.dimensions.map(|n| n.0 as usize),
        normalize: fields.normalize.map(|n| n.0 as i32),
    })
}

/// Vectors of texts, as OpenAI has them.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Embeddings {
    /// `list`.
    pub object: String,
    /// Name of the model.
    pub model: String,
    /// A vector for each text, in their order.
    pub data: Vec<EmbeddingEntry>,
    /// Tokens that were read.
    pub usage: InputUsage,
}

/// The vector of a text.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct EmbeddingEntry {
    /// `embedding`.
    pub object: String,
    /// The number of the text, from 0.
    pub index: usize,
    /// The vector.
    pub embedding: EncodedVector,
    /// `base64`, where it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<String>,
}

/// A vector as an answer has it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EncodedVector {
    /// Its numbers.
    Numbers(Vec<f32>),
    /// Their bytes in base64.
    Base64(String),
}

/// Tokens that were read; none are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InputUsage {
    /// Of all texts.
    pub prompt_tokens: usize,
    /// The same.
    pub total_tokens: usize,
}

impl InputUsage {
    /// So many tokens were read.
    pub fn of(tokens: usize) -> Self {
        InputUsage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        }
    }
}

/// The vectors of a text, as llama-server has them: one, or one for each token.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct NativeEmbedding {
    /// The number of the text, from 0.
    pub index: usize,
    /// The vectors.
    pub embedding: Vec<Vec<f32>>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> Result<EmbeddingRequest, ApiError> {
        parse_embedding(body.as_bytes())
    }

    #[test]
    fn texts_come_in_all_forms_and_many_at_once() {
        for (body, count) in [
            (r#"{"input":""}"#, 1),
            (r#"{"input":[12,34,"a",5]}"#, 1),
            (r#"{"input":["a",[1,2],{"prompt_string":"b"}]}"#, 3),
            (r#"{"input":[[1],[2,"a"]]}"#, 2),
            (r#"{"content":{"content":[{"type":"text","text":"a"}]}}"#, 1),
        ] {
            assert_eq!(parsed(body).unwrap().inputs.len(), count, "{body}");
        }
        let many = |n: usize| format!("{{\"input\":[{}\"a\"]}}", "\"a\",".repeat(n - 1));
        assert_eq!(parsed(&many(2048)).unwrap().inputs.len(), 2048);
        assert_eq!(parsed(&many(2049)).unwrap_err().param(), Some("input"));
        assert_eq!(parsed(r#"{"content":"a"}"#).unwrap().field, "content");
    }

    #[test]
    fn what_cannot_be_done_names_its_field() {
        for (body, field) in [
            ("{}", "input"),
            (r#"{"input":[]}"#, "input"),
            (r#"{"input":true}"#, "input"),
            (r#"{"input":{"content":"a"}}"#, "input"),
            (r#"{"input":"a","encoding_format":1}"#, "encoding_format"),
            (
                r#"{"input":"a","encoding_format":"int8"}"#,
                "encoding_format",
            ),
            (r#"{"input":"a","dimensions":0}"#, "dimensions"),
            (r#"{"input":"a","embd_normalize":-2}"#, "embd_normalize"),
            (
                r#"{"input":"a","truncate_prompt_tokens":4}"#,
                "truncate_prompt_tokens",
            ),
        ] {
            let param = parsed(body).unwrap_err().param().unwrap_or("").to_owned();
            assert!(param.starts_with(field), "{body}: {param}");
        }
        let base64 = parsed(r#"{"input":"a","encoding_format":"base64","user":"x"}"#);
        assert!(base64.unwrap().base64);
    }
}
