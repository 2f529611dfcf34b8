//! The fields that a chat and a completion have in common.

use card_core::sampler::SamplingParams;

use super::bias::Biases;
use super::prediction::PredictionField;
use super::response_format::ResponseFormat;
use super::speculation::SpeculationField;
use super::stop::Stops;
use super::structured::{Structured, StructuredOutputs};
use crate::error::ApiError;
use crate::job::GenerationJob;
use crate::limits;
use crate::reading::bounded::Name;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;
use crate::reading::number::{Int, MaxTokens, Real, Seed};

fields! {
    /// The fields a chat and a completion have in common.
    struct Common {
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Name,
        /// 0 takes the most probable token; 1, the default, samples from the model's
        /// distribution.
        "temperature" => temperature: Real<limits::Temperature>,
        /// Only the most probable tokens whose probabilities add up to this.
        "top_p" => top_p: Real<limits::TopMass>,
        /// Only that many of the most probable tokens; 0 and -1 for all.
        "top_k" => top_k: Int<-1, { u32::MAX as i64 }>,
        /// Only tokens at least this fraction as probable as the best.
        "min_p" => min_p: Real<limits::BestFraction>,
        /// Divides the logit of a token that is in the prompt or was generated.
        "repetition_penalty" | "repeat_penalty" => repetition_penalty: Real<limits::Repetition>,
        /// Taken from the logit for every time the token was generated.
        "frequency_penalty" => frequency_penalty: Real<limits::Penalty>,
        /// Taken once from the logit of a token that was generated.
        "presence_penalty" => presence_penalty: Real<limits::Penalty>,
        /// Of that many tokens the three penalties look; 0 for none, -1, the default, for all.
        "repeat_last_n" => repeat_last_n: Int<-1, { u32::MAX as i64 }>,
        /// Added to the logits of these tokens; -100 bans, 100 commands.
        "logit_bias" => logit_bias: Biases,
        /// The same seed gives the same answer; -1 for a new one each time.
        "seed" => seed: Seed,
        /// Most tokens to write; -1 for what fits. A completion with `echo` may have 0.
        "max_tokens" | "n_predict" => max_tokens: MaxTokens,
        /// The same, in chats' newer word; it has precedence.
        "max_completion_tokens" => max_completion_tokens: MaxTokens,
        /// Texts that end the answer, each of at most 1024 bytes.
        "stop" => stop: Stops,
        /// Send the answer as it is written.
        "stream" => stream: bool,
        /// How to stream.
        "stream_options" => stream_options: StreamOptions,
        /// The answer that is expected; what is right of it comes sooner.
        "prediction" => prediction: PredictionField,
        /// What the text has to be.
        "response_format" => response_format: ResponseFormat,
        /// A JSON Schema of the text, as llama-server's clients send it.
        "json_schema" => json_schema: Loose,
        /// A GBNF grammar of the text, as llama-server's clients send it.
        "grammar" => grammar: String,
        /// A JSON Schema of the text, as vLLM's clients send it.
        "guided_json" => guided_json: Loose,
        /// What the text has to be, as vLLM's clients send it: `json` is done.
        "structured_outputs" => structured_outputs: StructuredOutputs,
        /// Whether speculation may be used for this request: `auto`, `off`, or at most so many
        /// candidates in a forward, `{"max_rows": 4}`. The text is the same either way.
        "speculation" => speculation: SpeculationField,
        /// The answer tells in `card` what speculation brought.
        "card" => card: bool,
    }

    /// How to stream.
    struct StreamOptions {
        /// Report usage at the end.
        "include_usage" => include_usage: bool,
    }
}

/// What OpenAI's completions write where the client gives no `max_tokens`.
const COMPLETION_TOKENS: u32 = 16;

impl Common {
    /// The job that these fields ask for. What they do not say of sampling is in `defaults`; what
    /// only a chat or only a completion says is filled in by its parser.
    ///
    /// # Errors
    /// Names the field that is wrong, and how.
    pub(super) fn job(
        self,
        chat: bool,
        defaults: &SamplingParams,
    ) -> Result<GenerationJob, ApiError> {
        let max_tokens = match self.max_completion_tokens.or(self.max_tokens) {
            Some(given) => given.0,
            None => (!chat).then_some(COMPLETION_TOKENS),
        };
        let params = self.params(defaults)?;
        let options = self.stream_options.unwrap_or_default();
        let structured = Structured {
            response_format: self.response_format,
            json_schema: self.json_schema,
            grammar: self.grammar,
            guided_json: self.guided_json,
            structured_outputs: self.structured_outputs,
        };
        let (shape, shape_field) = structured.shape()?.unzip();
        let prediction = self.prediction.map(PredictionField::text);
        let job = GenerationJob::new(chat);
        Ok(GenerationJob {
            model: self.model.map(|m| m.0),
            params,
            seed: self.seed.and_then(|s| s.0),
            max_tokens,
            stop: self.stop.unwrap_or_default().0.into(),
            speculation: self.speculation.map(|s| s.0).unwrap_or_default(),
            report: self.card.unwrap_or(false),
            stream: self.stream.unwrap_or(false),
            include_usage: options.include_usage.unwrap_or(false),
            shape,
            shape_field: shape_field.unwrap_or(job.shape_field),
            prediction: prediction.transpose()?.unwrap_or_default(),
            ..job
        })
    }

    /// How to sample; what is not given is in `defaults`.
    fn params(&self, defaults: &SamplingParams) -> Result<SamplingParams, ApiError> {
        let params = SamplingParams {
            temperature: self
                .temperature
                .as_ref()
                .map_or(defaults.temperature, |t| t.0),
            top_p: self.top_p.as_ref().map_or(defaults.top_p, |p| p.0),
            top_k: self
                .top_k
                .as_ref()
                .map_or(defaults.top_k, |k| k.0.max(0) as u32),
            min_p: self.min_p.as_ref().map_or(defaults.min_p, |p| p.0),
            repeat_penalty: self
                .repetition_penalty
                .as_ref()
                .map_or(defaults.repeat_penalty, |p| p.0),
            frequency_penalty: self
                .frequency_penalty
                .as_ref()
                .map_or(defaults.frequency_penalty, |p| p.0),
            presence_penalty: self
                .presence_penalty
                .as_ref()
                .map_or(defaults.presence_penalty, |p| p.0),
            penalty_window: self.repeat_last_n.map_or(defaults.penalty_window, |n| {
                u32::try_from(n.0).unwrap_or(u32::MAX)
            }),
            logit_bias: self
                .logit_bias
                .as_ref()
                .map(|b| b.0.clone())
                .unwrap_or_default(),
            ..SamplingParams::default()
        };
        // The ranges of the fields are those that the sampler wants; should the sampler want
        // narrower ones, its reason names the field.
        params.clone().checked().map_err(|e| {
            let name = match e.name {
                "repeat-penalty" => "repetition_penalty".to_owned(),
                other => other.replace('-', "_"),
            };
            ApiError::field(&name, format!("{name}: {e}"))
        })?;
        Ok(params)
    }
}
