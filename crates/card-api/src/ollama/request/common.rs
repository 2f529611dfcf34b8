//! The fields that a chat and a completion have in common.

use card_core::sampler::SamplingParams;

use super::format::Format;
use super::options::SamplingOptions;
use super::think::Think;
use crate::error::ApiError;
use crate::job::{GenerationJob, PenalizedText};
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::number::LogprobCount;
use crate::reading::strict::{Anything, Strict};

/// Where the schema stands in a request.
const SCHEMA_PATH: &str = "format";

fields! {
    /// The fields that a chat and a completion have in common.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct OllamaCommon {
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
        /// Send the answer as it is written, which is the default.
        "stream" => stream: bool,
        /// What the text has to be.
        "format" => format: Format,
        /// How to sample.
        "options" => options: Strict<SamplingOptions>,
        /// Whether the model thinks before it answers; refused where it cannot.
        "think" => think: Think,
        /// Report what the model thought of each token.
        "logprobs" => logprobs: bool,
        /// Report that many of the most probable tokens too; needs `logprobs`.
        "top_logprobs" => top_logprobs: LogprobCount,
        /// Without effect: the model stays as long as the server runs.
        "keep_alive" => keep_alive: Anything,
    }
}

/// A request of Ollama's.
#[derive(Debug)]
pub struct OllamaRequest {
    /// What to generate; it has no prompt if nothing is to be generated.
    pub job: GenerationJob,
    /// Whether the model has only to be there, so that nothing is generated.
    pub loads_only: bool,
}

impl OllamaCommon {
    /// The job that these fields ask for, still without a prompt. What they do not say of
    /// sampling is in `defaults`.
    ///
    /// # Errors
    /// Names the field that is wrong or not supported.
    pub(super) fn job(
        self,
        chat: bool,
        defaults: &SamplingParams,
    ) -> Result<GenerationJob, ApiError> {
        let mut job = GenerationJob::new(chat);
        job.penalized = PenalizedText::All;
        self.options
            .map(|o| o.0)
            .unwrap_or_default()
            .fill(&mut job, defaults)?;
        job.model = self.model.map(|model| model.0);
        job.stream = self.stream.unwrap_or(true);
        job.shape = self.format.and_then(|format| format.0);
        job.shape_field = SCHEMA_PATH;
        job.template.thinking = self.think.map(|think| think.0);
        let wanted = self.logprobs.unwrap_or(false);
        if self.top_logprobs.is_some() && !wanted {
            let why = "top_logprobs needs logprobs to be true";
            return Err(ApiError::field("top_logprobs", why));
        }
        job.logprobs = wanted.then(|| self.top_logprobs.map_or(0, |n| n.0 as usize));
        Ok(job)
    }
}
