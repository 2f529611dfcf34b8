//! `/rerank`: documents, ordered by how well they answer a question. In the words of Jina and
//! Cohere (`documents`), or of Text Embeddings Inference (`texts`), as llama-server takes both.

use schemars::JsonSchema;
use serde::Serialize;

use super::embedding::InputUsage;
use crate::error::ApiError;
use crate::limits;
use crate::reading::bounded::{Bounded, Name};
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::Int;

/// The documents of a request.
type Documents = Bounded<String, { limits::DOCUMENTS }>;

fields! {
    /// Documents that shall be ordered.
    struct RerankFields {
        /// The question.
        #[schemars(required)]
        "query" => query: String,
        /// The documents.
        "documents" => documents: Documents,
        /// The documents, in the words of Text Embeddings Inference; the answer is in its form
        /// then, a list.
        "texts" => texts: Documents,
        /// Only so many of the best; more than there are is all.
        "top_n" => top_n: Int<1, { i32::MAX as i64 }>,
        /// Repeat the text of each document, for `texts`.
        "return_text" => return_text: bool,
        /// Repeat the text of each document, for `documents`.
        "return_documents" => return_documents: bool,
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
    }
}

/// Documents that shall be ordered.
#[derive(Clone, Debug, PartialEq)]
pub struct RerankRequest {
    /// The question.
    pub query: String,
    /// The documents; at least one.
    pub documents: Vec<String>,
    /// The field that they stood in.
    pub field: &'static str,
    /// Only so many of the best.
    pub top: usize,
    /// Repeat the text of each document.
    pub texts: bool,
    /// Whether the answer is in the form of Text Embeddings Inference.
    pub list: bool,
}

/// Parses a body that has documents ranked.
///
/// # Errors
/// Names the field that is wrong, and how.
pub fn parse_rerank(body: &[u8]) -> Result<RerankRequest, ApiError> {
    let read: Read<RerankFields> = fields::parse(body)?;
    let fields = read.fields;
    let list = fields.texts.is_some();
    let field = if list { "texts" } else { "documents" };
    let query = fields
        .query
        .ok_or_else(|| ApiError::field("query", "`query` must be a text"))?;
    let documents = fields.texts.or(fields.documents).map(|d| d.0);
    let documents = documents.filter(|all| !all.is_empty()).ok_or_else(|| {
        let why = format!("`{field}` must be a list of at least one text");
        ApiError::field(field, why)
    })?;
    let repeat = if list {
        fields.return_text
    } else {
        fields.return_documents
    };
    Ok(RerankRequest {
        query,
        field,
        top: fields
            .top_n
            .map_or(documents.len(), |n| (n.0 as usize).min(documents.len())),
        documents,
        texts: repeat.unwrap_or(false),
        list,
    })
}

/// Documents in their order, the best first.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Reranked {
    /// `list`.
    pub object: String,
    /// Name of the model.
    pub model: String,
    /// The documents.
    pub results: Vec<RankedDocument>,
    /// Tokens that were read.
    pub usage: InputUsage,
}

/// A document with its score.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RankedDocument {
    /// Its number in the request, from 0.
    pub index: usize,
    /// The larger, the better it answers the question.
    pub relevance_score: f32,
    /// The document, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentText>,
}

/// A document that is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DocumentText {
    /// Its text.
    pub text: String,
}

/// A text with its score, as Text Embeddings Inference has it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ScoredText {
    /// Its number in the request, from 0.
    pub index: usize,
    /// The larger, the better it answers the question.
    pub score: f32,
    /// The text, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> Result<RerankRequest, ApiError> {
        parse_rerank(body.as_bytes())
    }

    #[test]
    fn documents_come_in_both_words() {
        let jina = parsed(r#"{"query":"q","documents":["a","b","c"],"top_n":2}"#).unwrap();
        assert_eq!((jina.documents.len(), jina.top, jina.list), (3, 2, false));
        let tei = parsed(r#"{"query":"q","texts":["a"],"top_n":99,"return_text":true}"#).unwrap();
        assert_eq!((tei.top, tei.list, tei.texts), (1, true, true));
    }

    #[test]
    fn what_is_no_list_of_texts_is_refused_by_name() {
        for (body, field) in [
            (r#"{"query":"q"}"#, "documents"),
            (r#"{"query":"q","documents":[]}"#, "documents"),
            (r#"{"query":"q","documents":null}"#, "documents"),
            (r#"{"query":"q","documents":123}"#, "documents"),
            (r#"{"query":"q","documents":[1]}"#, "documents[0]"),
            (r#"{"documents":["a"]}"#, "query"),
            (r#"{"query":"q","texts":[]}"#, "texts"),
            (r#"{"query":"q","documents":["a"],"top_n":0}"#, "top_n"),
        ] {
            let error = parsed(body).unwrap_err();
            assert_eq!(error.param(), Some(field), "{body}");
        }
    }
}
