//! `/v1/completions`: the fields that only a completion has, and its parser.

use std::borrow::Cow;

use card_core::sampler::SamplingParams;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::common::Common;
use super::others::OfCompletion;
use super::prompt::Prompts;
use crate::error::ApiError;
use crate::job::{GenerationJob, PromptInput};
use crate::limits;
use crate::reading::fields::{self, Read, fields};
use crate::reading::number::{Int, LogprobCount};
use crate::reading::refused::Others;
use crate::reading::schema::{described, together};
use crate::sampling::openai_defaults;

fields! {
    /// The fields of a completion only.
    struct Completion {
        /// What goes before the text that is generated.
        #[schemars(required)]
        "prompt" => prompt: Prompts,
        /// Report what the model thought of each token, and of that many of the most probable.
        "logprobs" => logprobs: LogprobCount,
        /// The answer begins with the prompt; with `logprobs` its tokens are scored too.
        "echo" => echo: bool,
        /// What stands behind the text that is generated, for models that fill in the middle.
        "suffix" => suffix: String,
        /// Answers to each prompt; with several prompts at most 64 answers together.
        "n" => n: Int<1, { limits::CHOICES }>,
        /// Report times and counts with every chunk of a stream, as llama-server does.
        "timings_per_token" => timings_per_token: bool,
        /// Report, in a stream, how much of the prompt was read, as llama-server does.
        "return_progress" => return_progress: bool,
    }
}

/// The body of `/v1/completions`, for the OpenAPI document.
pub(crate) enum CompletionRequest {}

impl JsonSchema for CompletionRequest {
    fn schema_name() -> Cow<'static, str> {
        "CompletionRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let about = described::<OfCompletion>("A text to go on with.");
        together::<Common, Completion>(generator, &about)
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
    let read: Read<((Common, Completion), Others<OfCompletion>)> = fields::parse(body)?;
    let ((common, completion), _) = read.fields;
    let mut job = common.job(false, defaults)?;
    job.unknown = read.unknown;
    job.n = completion.n.map_or(1, |n| n.0 as u32);
    job.echo = completion.echo.unwrap_or(false);
    if job.max_tokens == Some(0) && !job.echo {
        let why = "0 tokens are an answer only with `echo`; ask for 1 or more";
        return Err(ApiError::field("max_tokens", why));
    }
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
    job.llama.timings_per_token = job.stream && completion.timings_per_token.unwrap_or(false);
    job.llama.progress = job.stream && completion.return_progress.unwrap_or(false);
    if let Some(suffix) = completion.suffix.filter(|s| !s.is_empty()) {
        fill(&mut job, &suffix)?;
    }
    Ok(job)
}

/// Makes the prompts of a job what stands before the text that is generated, and `suffix` what
/// stands behind it.
fn fill(job: &mut GenerationJob, suffix: &str) -> Result<(), ApiError> {
    if job.echo {
        let why = "`echo` repeats a prompt, but with `suffix` the text stands within it; leave \
                   one of them out";
        return Err(ApiError::field("echo", why));
    }
    for prompt in &mut job.prompts {
        *prompt = match std::mem::replace(prompt, PromptInput::Tokens(Vec::new())) {
            PromptInput::Text(prefix) => PromptInput::Fill {
                prefix,
                suffix: suffix.to_owned(),
            },
            _ => {
                let why = "`suffix` needs a prompt that is text, not tokens";
                return Err(ApiError::field("suffix", why));
            }
        };
    }
    Ok(())
}
