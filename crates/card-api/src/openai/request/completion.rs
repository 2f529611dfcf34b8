//! `/v1/completions`: the fields that only a completion has, and its parser.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::common::Common;
use super::prompt::Prompts;
use crate::error::ApiError;
use crate::job::GenerationJob;
use crate::limits;
use crate::llama_server::extras::{LlamaFields, with_llama_fields};
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::LogprobCount;
use crate::reading::schema::together;

fields! {
    /// The fields of a completion only.
    struct Completion {
        /// What goes before the text that is generated.
        #[schemars(required)]
        "prompt" => prompt: Prompts,
        /// Report what the model thought of each token, and of that many of the most probable.
        "logprobs" => logprobs: LogprobCount,
        /// The answer begins with the prompt.
        "echo" => echo: bool,
    }
}

/// The body of `/v1/completions`, for the OpenAPI document.
pub(crate) enum CompletionRequest {}

impl JsonSchema for CompletionRequest {
    fn schema_name() -> Cow<'static, str> {
        "CompletionRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let schema = together::<Common, Completion>(generator, "A text to go on with.");
        with_llama_fields(generator, schema)
    }
}

/// Parses the body of `/v1/completions`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_completion(body: &[u8]) -> Result<GenerationJob, ApiError> {
    let read: Read<((Common, Completion), LlamaFields)> = fields::parse(body)?;
    let ((common, completion), llama) = read.fields;
    let mut job = common.job(false)?;
    job.unknown = read.unknown;
    let Some(prompts) = completion.prompt else {
        return Err(ApiError::field("prompt", "there must be a prompt"));
    };
    job.prompts = prompts.0;
    let answers = job.prompts.len() * job.n as usize;
    if answers > limits::ANSWERS {
        let why = format!(
            "{} answers to each of {} prompts are {answers}, but at most {} can be asked for at \
             once",
            job.n,
            job.prompts.len(),
            limits::ANSWERS
        );
        return Err(ApiError::field("n", why));
    }
    job.logprobs = completion.logprobs.map(|n| n.0 as usize);
    job.echo = completion.echo.unwrap_or(false);
    llama.apply(&mut job)?;
    Ok(job)
}
