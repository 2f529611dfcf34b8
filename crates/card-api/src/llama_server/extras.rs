//! llama-server's fields of OpenAI's routes.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::gbnf;
use super::neutral::Anything;
use crate::error::ApiError;
use crate::job::GenerationJob;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;

fields! {
    /// What llama-server takes at OpenAI's routes beside OpenAI's fields.
    #[allow(dead_code)] // Some are read only so that the document has them.
    struct LlamaFields {
        /// A GBNF grammar that the text has to follow.
        "grammar" => grammar: String,
        /// A JSON Schema that the text has to follow.
        "json_schema" => json_schema: Loose,
        /// Report times and counts with every chunk of a stream.
        "timings_per_token" => timings_per_token: bool,
        /// Report, in a stream, how much of the prompt was read.
        "return_progress" => return_progress: bool,
        /// Without effect: a prompt that an earlier one begins like is never read again, and
        /// the text is the same either way.
        "cache_prompt" => cache_prompt: Anything,
        /// Without effect: any free slot is taken.
        "id_slot" => id_slot: Anything,
    }
}

/// The schema of an object with these fields, too.
pub(crate) fn with_llama_fields(generator: &mut SchemaGenerator, mut schema: Schema) -> Schema {
    let more = LlamaFields::json_schema(generator);
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    if let (Some(fields), Some(Value::Object(more))) = (fields, more.get("properties")) {
        fields.extend(more.clone());
    }
    schema
}

impl LlamaFields {
    /// Adds what these fields ask for to a job.
    ///
    /// # Errors
    /// Names the field that is wrong, or that contradicts another.
    pub(crate) fn apply(self, job: &mut GenerationJob) -> Result<(), ApiError> {
        let LlamaFields {
            grammar,
            json_schema,
            timings_per_token,
            return_progress,
            cache_prompt: _,
            id_slot: _,
        } = self;
        let schema = json_schema.map(|s| s.0);
        let (shape, field) = gbnf::shape(grammar.as_deref(), schema)?;
        if shape.is_some() {
            if job.shape.is_some() {
                let why = format!(
                    "`{field}` and `{}` both say what the text has to be; leave one of them out",
                    job.shape_field
                );
                return Err(ApiError::field(field, why));
            }
            job.shape = shape;
            job.shape_field = field;
        }
        job.llama.timings_per_token = job.stream && timings_per_token.unwrap_or(false);
        job.llama.progress = job.stream && return_progress.unwrap_or(false);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::job::AnswerShape;
    use crate::{ApiError, GenerationJob, parse_chat, parse_completion};

    fn chat(fields: &str) -> Result<GenerationJob, ApiError> {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{fields}}}"#);
        parse_chat(body.as_bytes())
    }

    #[test]
    fn openai_s_routes_take_grammars_and_schemas() {
        let grammar = chat(r#""grammar":"root ::= \"a\"{5,5}""#).unwrap();
        assert!(matches!(grammar.shape, Some(AnswerShape::Lark(_))));
        assert_eq!(grammar.shape_field, "grammar");
        let schema = chat(r#""json_schema":{"const":"42"}"#).unwrap();
        assert!(matches!(schema.shape, Some(AnswerShape::Schema(_))));
        let text = parse_completion(br#"{"prompt":"a","grammar":"root ::= \"b\"","n_predict":3}"#);
        let text = text.unwrap();
        assert!(text.shape.is_some());
        assert_eq!(text.max_tokens, Some(3));
        let told = chat(r#""stream":true,"return_progress":true,"timings_per_token":true"#);
        let told = told.unwrap().llama;
        assert!(told.progress && told.timings_per_token && !told.tokens);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (fields, param) in [
            (r#""grammar":"root ::= (""#, "grammar"),
            (r#""json_schema":5"#, "json_schema"),
            (
                r#""json_schema":{},"response_format":{"type":"json_object"}"#,
                "json_schema",
            ),
            (r#""grammar":"root ::= \"a\"","json_schema":{}"#, "grammar"),
        ] {
            let error = chat(fields).unwrap_err();
            assert_eq!(error.param(), Some(param), "{fields}");
        }
    }
}
