//! `/v1/completions`: the fields that only a completion has, and its parser.

use std::borrow::Cow;

use card_core::sampler::SamplingParams;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::common::Common;
use super::prompt::Prompts;
use crate::error::ApiError;
use crate::job::GenerationJob;
use crate::limits;
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::LogprobCount;
use crate::reading::schema::together;
use crate::sampling::openai_defaults;

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
        together::<Common, Completion>(generator, "A text to go on with.")
    }
}

/// Parses the body of `/v1/completions`; what it does not say of sampling is OpenAI's default.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_completion(body: &[u8]) -> Result<GenerationJob, ApiError> {
    parse_completion_with(body, &openai_defaults())
}

/// The same, where what the body does not say of sampling is in `defaults`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_completion_with(
    body: &[u8],
    defaults: &SamplingParams,
) -> Result<GenerationJob, ApiError> {
    let read: Read<(Common, Completion)> = fields::parse(body)?;
    let (common, completion) = read.fields;
    let mut job = common.job(false, defaults)?;
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
    Ok(job)
}
