//! `/api/generate`: the fields that only a completion has, and its parser.

use std::borrow::Cow;

use card_core::sampler::SamplingParams;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::common::{OllamaCommon, OllamaRequest};
use super::message::NO_IMAGES;
use crate::error::ApiError;
use crate::job::PromptInput;
use crate::reading::fields::{self, fields};
use crate::reading::loose::Loose;
use crate::reading::schema::together;
use crate::reading::strict::{Strict, unsupported};
use crate::sampling::ollama_defaults;

fields! {
    /// The fields of a completion only.
    struct GenerateFields {
        /// What the user says, for the model's chat template; with `raw` a text to go on with.
        /// Without it nothing is generated.
        "prompt" => prompt: String,
        /// Instructions before it.
        "system" => system: String,
        /// Whether the prompt is a text as it is, without a chat template around it.
        "raw" => raw: bool,
        /// Text behind what is generated, by a model that can fill in the middle; the prompt stands
        /// before it, without a chat template.
        "suffix" => suffix: String,
        /// Templates of a request's own are not supported.
        "template" => template: String,
        /// Not supported: send the conversation to `/api/chat`.
        "context" => context: Loose,
        /// Images are not supported.
        "images" => images: Loose,
        /// Images are not generated.
        "width" => width: Loose,
        /// Images are not generated.
        "height" => height: Loose,
        /// Images are not generated.
        "steps" => steps: Loose,
    }
}

/// The body of `/api/generate`, for the OpenAPI document.
pub(crate) enum GenerateBody {}

impl JsonSchema for GenerateBody {
    fn schema_name() -> Cow<'static, str> {
        "OllamaGenerateRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = together::<OllamaCommon, GenerateFields>(generator, "A prompt.");
        schema.insert("additionalProperties".into(), false.into());
        schema
    }
}

/// Parses the body of `/api/generate`; what it does not say of sampling is Ollama's default.
///
/// # Errors
/// Names the field that is wrong or not supported with its path, and how.
pub fn parse_generate(body: &[u8]) -> Result<OllamaRequest, ApiError> {
    parse_generate_with(body, &ollama_defaults())
}

/// The same, where what the body does not say of sampling is in `defaults`.
///
/// # Errors
/// Names the field that is wrong or not supported with its path, and how.
pub fn parse_generate_with(
    body: &[u8],
    defaults: &SamplingParams,
) -> Result<OllamaRequest, ApiError> {
    let (common, generate) = fields::parse::<Strict<(OllamaCommon, GenerateFields)>>(body)?
        .fields
        .0;
    generate.check_unsupported()?;
    let raw = generate.raw.unwrap_or(false);
    let system = generate.system.filter(|system| !system.is_empty());
    let suffix = generate.suffix.filter(|suffix| !suffix.is_empty());
    let bare = raw || suffix.is_some();
    let mut job = common.job(!bare, defaults)?;
    let prompt = generate.prompt.unwrap_or_default();
    if bare {
        if system.is_some() {
            let why = "a raw prompt, or one with a suffix, has no place for instructions; write them \
                       into it";
            return Err(ApiError::field("system", why));
        }
        // Without a template nothing thinks, so false asks for nothing.
        if job.template.thinking == Some(true) {
            let why =
                "a raw prompt, or one with a suffix, has no switch for thinking; leave it out";
            return Err(ApiError::field("think", why));
        }
    }
    if prompt.is_empty() && suffix.is_none() {
        return Ok(OllamaRequest {
            job,
            loads_only: true,
        });
    }
    let input = match suffix {
        Some(_) if raw => {
            let why = "a raw prompt is all of the text; leave `raw` out, or `suffix`";
            return Err(ApiError::field("suffix", why));
        }
        Some(suffix) => PromptInput::Fill {
            prefix: prompt,
            suffix,
        },
        None if raw => PromptInput::Text(prompt),
        None => {
            let system = system.map(|system| json!({ "role": "system", "content": system }));
            let user = json!({ "role": "user", "content": prompt });
            PromptInput::Chat {
                messages: system.into_iter().chain([user]).collect(),
                tools: None,
            }
        }
    };
    job.prompts = vec![input];
    Ok(OllamaRequest {
        job,
        loads_only: false,
    })
}

impl GenerateFields {
    /// Whether nothing is asked for that is not done.
    fn check_unsupported(&self) -> Result<(), ApiError> {
        let given = |path: &str, text: &Option<String>, why: &str| match text {
            Some(text) if !text.is_empty() => Err(ApiError::field(path, format!("{path}: {why}"))),
            _ => Ok(()),
        };
        given(
            "template",
            &self.template,
            "the model's own template is used; leave it out, or send a raw prompt",
        )?;
        let loose = [
            (
                "context",
                &self.context,
                "send the conversation to /api/chat",
            ),
            ("images", &self.images, NO_IMAGES),
            (
                "width",
                &self.width,
                "images are not generated; leave it out",
            ),
            (
                "height",
                &self.height,
                "images are not generated; leave it out",
            ),
            (
                "steps",
                &self.steps,
                "images are not generated; leave it out",
            ),
        ];
        for (path, value, why) in loose {
            unsupported(path, value.as_ref().map(|value| &value.0), why)?;
        }
        Ok(())
    }
}
