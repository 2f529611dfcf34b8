//! llama-server's fields of OpenAI's routes.

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
