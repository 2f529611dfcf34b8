//! `options`: how to sample, in Ollama's words.

use card_core::sampler::SamplingParams;

use crate::error::ApiError;
use crate::job::GenerationJob;
use crate::limits;
use crate::openai::request::stop::Stops;
use crate::reading::fields::fields;
use crate::reading::loose::Loose;
use crate::reading::number::{Int, Real, Seed};
use crate::reading::strict::{Anything, unsupported};

/// Whole numbers that mean something else where they are negative.
type CountOrAll = Int<-1, { u32::MAX as i64 }>;

fields! {
    /// How to sample.
    #[allow(dead_code, reason = "fields without effect are not read")]
    struct SamplingOptions {
        /// Most tokens to write; 0, -1 (the default) and -2 for what fits.
        "num_predict" => num_predict: Int<-2, { u32::MAX as i64 }>,
        /// 0 takes the most probable token; 0.8 is the default, as the next ones have theirs, where
        /// the server has none of its own.
        "temperature" => temperature: Real<limits::Temperature>,
        /// Only that many of the most probable tokens; 40 is the default, 0 and -1 are for all.
        "top_k" => top_k: CountOrAll,
        /// Only the most probable tokens whose probabilities add up to this; 0.9 is the default.
        "top_p" => top_p: Real<limits::TopMass>,
        /// Only tokens at least this fraction as probable as the best.
        "min_p" => min_p: Real<limits::BestFraction>,
        /// The same seed gives the same answer; -1 for a new one each time.
        "seed" => seed: Seed,
        /// Texts that end the answer, each of at most 1024 bytes.
        "stop" => stop: Stops,
        /// Divides the logit of a token that was seen lately; 1.1 is the default.
        "repeat_penalty" => repeat_penalty: Real<limits::Repetition>,
        /// How many of the last tokens count as lately; 64 is the default, -1 is for all.
        "repeat_last_n" => repeat_last_n: CountOrAll,
        /// Taken from the logit for every time the token was seen lately.
        "frequency_penalty" => frequency_penalty: Real<limits::Penalty>,
        /// Taken once from the logit of a token that was seen lately.
        "presence_penalty" => presence_penalty: Real<limits::Penalty>,
        /// 1, which is no typical sampling; more is not supported.
        "typical_p" => typical_p: Real<limits::TopMass>,
        /// 1, which is no tail-free sampling; more is not supported.
        "tfs_z" => tfs_z: Real<limits::TopMass>,
        /// 0, which is no Mirostat; more is not supported.
        "mirostat" => mirostat: Int<0, 2>,
        /// Without effect, as there is no Mirostat.
        "mirostat_tau" => mirostat_tau: Anything,
        /// Without effect, as there is no Mirostat.
        "mirostat_eta" => mirostat_eta: Anything,
        /// True: a line break is a token like others.
        "penalize_newline" => penalize_newline: bool,
        /// Without effect: `--ctx` of the server says how long a context is, and a prompt that
        /// does not fit is refused, not cut.
        "num_ctx" => num_ctx: Anything,
        /// Without effect: nothing is cut out of a context.
        "num_keep" => num_keep: Anything,
        /// Without effect, as the server was started with its own.
        "num_batch" => num_batch: Anything,
        /// Without effect, as the server was started with its own.
        "num_gpu" => num_gpu: Anything,
        /// Without effect, as the server was started with its own.
        "main_gpu" => main_gpu: Anything,
        /// Without effect, as the server was started with its own.
        "num_thread" => num_thread: Anything,
        /// Without effect, as the server was started with its own.
        "numa" => numa: Anything,
        /// Without effect, as the server was started with its own.
        "low_vram" => low_vram: Anything,
        /// Without effect, as the server was started with its own.
        "f16_kv" => f16_kv: Anything,
        /// Without effect, as the server was started with its own.
        "use_mmap" => use_mmap: Anything,
        /// Without effect, as the server was started with its own.
        "use_mlock" => use_mlock: Anything,
        /// Without effect, as the server was started with its own.
        "vocab_only" => vocab_only: Anything,
        /// Without effect.
        "logits_all" => logits_all: Anything,
        /// Embeddings are not supported.
        "embedding_only" => embedding_only: Loose,
    }
}

impl SamplingOptions {
    /// Fills in what these say of a job; what they do not say of sampling is in `defaults`.
    ///
    /// # Errors
    /// Names the option that is not supported.
    pub(super) fn fill(
        self,
        job: &mut GenerationJob,
        defaults: &SamplingParams,
    ) -> Result<(), ApiError> {
        self.check_unsupported()?;
        job.params = self.params(defaults)?;
        job.seed = self.seed.and_then(|seed| seed.0);
        let most = self.num_predict.and_then(|most| u32::try_from(most.0).ok());
        job.max_tokens = most.filter(|&most| most > 0);
        job.stop = self.stop.map(|stop| stop.0).unwrap_or_default().into();
        Ok(())
    }

    fn check_unsupported(&self) -> Result<(), ApiError> {
        let wrong = |name: &str, why: &str| {
            let path = format!("options.{name}");
            let why = format!("{path}: {why}");
            Err(ApiError::field(path, why))
        };
        let is_one = |value: &Option<Real<limits::TopMass>>| {
            value.as_ref().is_none_or(|value| value.0 == 1.0)
        };
        if !is_one(&self.typical_p) {
            return wrong(
                "typical_p",
                "typical sampling is not supported; leave it out",
            );
        }
        if !is_one(&self.tfs_z) {
            return wrong("tfs_z", "tail-free sampling is not supported; leave it out");
        }
        if self.mirostat.is_some_and(|mode| mode.0 != 0) {
            return wrong("mirostat", "Mirostat is not supported; leave it out");
        }
        if self.penalize_newline == Some(false) {
            let why = "a line break is penalized like any token; leave it out";
            return wrong("penalize_newline", why);
        }
        unsupported(
            "options.embedding_only",
            self.embedding_only.as_ref().map(|value| &value.0),
            "embeddings are not supported; leave it out",
        )
    }

    /// How to sample; what is not given is in `defaults`.
    fn params(&self, defaults: &SamplingParams) -> Result<SamplingParams, ApiError> {
        let temperature = self.temperature.as_ref();
        let repeat = self.repeat_penalty.as_ref();
        let frequency = self.frequency_penalty.as_ref();
        let presence = self.presence_penalty.as_ref();
        let params = SamplingParams {
            temperature: temperature.map_or(defaults.temperature, |t| t.0),
            top_k: self.top_k.map_or(defaults.top_k, |k| k.0.max(0) as u32),
            top_p: self.top_p.as_ref().map_or(defaults.top_p, |p| p.0),
            min_p: self.min_p.as_ref().map_or(defaults.min_p, |p| p.0),
            repeat_penalty: repeat.map_or(defaults.repeat_penalty, |p| p.0),
            frequency_penalty: frequency.map_or(defaults.frequency_penalty, |p| p.0),
            presence_penalty: presence.map_or(defaults.presence_penalty, |p| p.0),
            penalty_window: self.repeat_last_n.map_or(defaults.penalty_window, |count| {
                u32::try_from(count.0).unwrap_or(u32::MAX)
            }),
            ..SamplingParams::default()
        };
        // The ranges of the fields are those that the sampler wants; should the sampler want
        // narrower ones, its reason names the field.
        params.clone().checked().map_err(|e| {
            let path = format!("options.{}", e.name.replace('-', "_"));
            let why = format!("{path}: {e}");
            ApiError::field(path, why)
        })?;
        Ok(params)
    }
}
