//! What the text has to be, in the words of OpenAI, llama-server and vLLM.

use serde_json::Value;

use super::response_format::{RESPONSE_FORMAT, ResponseFormat};
use super::schema_version::dated;
use crate::error::ApiError;
use crate::job::AnswerShape;
use crate::llama_server::gbnf;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;

fields! {
    /// What the text has to be, as vLLM's clients send it.
    struct StructuredOutputs {
        /// A JSON Schema.
        "json" => json: Loose,
        /// Whether it has to be some JSON object.
        "json_object" => json_object: bool,
        /// Not done.
        "regex" => regex: Loose,
        /// Not done.
        "choice" => choice: Loose,
        /// Not done.
        "grammar" => grammar: Loose,
        /// Not done.
        "structural_tag" => structural_tag: Loose,
    }
}

/// The fields of a request that say what the text has to be, as they came.
pub(super) struct Structured {
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) json_schema: Option<Loose>,
    pub(super) grammar: Option<String>,
    pub(super) guided_json: Option<Loose>,
    pub(super) structured_outputs: Option<StructuredOutputs>,
}

impl Structured {
    /// The shape of the text, and the field that says so.
    ///
    /// # Errors
    /// If a field cannot be done, or two of them say something.
    pub(super) fn shape(self) -> Result<Option<(AnswerShape, &'static str)>, ApiError> {
        let format = self.response_format.map(|f| f.shape(&RESPONSE_FORMAT));
        let grammar = self.grammar.map(|grammar| gbnf::of_grammar(&grammar));
        let grammar = grammar.transpose()?.flatten();
        let outputs = self.structured_outputs.map(StructuredOutputs::shape);
        let all = [
            format.transpose()?.flatten(),
            schema(self.json_schema, "json_schema")?,
            grammar.map(|shape| (shape, "grammar")),
            schema(self.guided_json, "guided_json")?,
            outputs.transpose()?.flatten(),
        ];
        let mut said: Option<(AnswerShape, &'static str)> = None;
        for shape in all.into_iter().flatten() {
            if let Some((_, first)) = &said {
                let why = format!("`{first}` says already what the text has to be");
                return Err(ApiError::field(shape.1, why));
            }
            said = Some(shape);
        }
        Ok(said)
    }
}

impl StructuredOutputs {
    fn shape(self) -> Result<Option<(AnswerShape, &'static str)>, ApiError> {
        let refused = [
            (&self.regex, "structured_outputs.regex"),
            (&self.choice, "structured_outputs.choice"),
            (&self.grammar, "structured_outputs.grammar"),
            (&self.structural_tag, "structured_outputs.structural_tag"),
        ];
        if let Some((_, field)) = refused.into_iter().find(|(value, _)| value.is_some()) {
            let why = "this server does not do it; send a JSON schema as structured_outputs.json";
            return Err(ApiError::field(field, why));
        }
        if let Some(shape) = schema(self.json, "structured_outputs.json")? {
            return Ok(Some(shape));
        }
        let object = self.json_object.unwrap_or(false);
        Ok(object.then_some((AnswerShape::Object, "structured_outputs.json_object")))
    }
}

/// A schema that stands in a field by itself.
fn schema(
    given: Option<Loose>,
    field: &'static str,
) -> Result<Option<(AnswerShape, &'static str)>, ApiError> {
    match given.map(|g| g.0) {
        None => Ok(None),
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => {
            Ok(Some((AnswerShape::Schema(dated(schema)), field)))
        }
        Some(_) => {
            let why = "it must be a JSON schema, which is an object";
            Err(ApiError::field(field, why))
        }
    }
}
