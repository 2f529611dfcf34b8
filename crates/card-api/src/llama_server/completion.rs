//! `/completion`: llama-server's own completion, and its parser.

use std::borrow::Cow;
use std::time::Duration;

use card_core::sampler::{Bias, SamplingParams};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::bias::{BiasedText, NativeBiases};
use super::gbnf;
use super::neutral::{Harmless, NeutralFields, OfNative};
use super::prompt::{MixedPrompt, NativePrompts};
use super::samplers::{SamplerNames, Samplers};
use super::stop::NativeStops;
use crate::error::ApiError;
use crate::job::{AnswerShape, GenerationJob, LlamaOptions, PenalizedText};
use crate::limits;
use crate::reading::bounded::{Bounded, Name};
use crate::reading::fields::{self, Read, fields};
use crate::reading::loose::Loose;
use crate::reading::number::{Int, Real, Seed};
use crate::reading::refused::Others;
use crate::reading::schema::together;
use crate::sampling::openai_defaults;

/// `n_predict`: −1 for what fits, 0 for reading the prompt only.
type Predict = Int<-1, { i32::MAX as i64 }>;

fields! {
    /// The fields of a native completion and of an infill.
    struct Native {
        /// Most tokens to write; -1 for what fits, 0 to read the prompt only.
        "n_predict" | "max_completion_tokens" | "max_tokens" => n_predict: Predict,
        /// Answers to each prompt; with several prompts at most 64 answers together.
        "n_cmpl" | "n" => n_cmpl: Int<1, { limits::CHOICES }>,
        /// 0 takes the most probable token. This and the settings below are the server's own
        /// where they are not given.
        "temperature" => temperature: Real<limits::Temperature>,
        /// Only that many of the most probable tokens; 0 and -1 for all.
        "top_k" => top_k: Int<-1, { i32::MAX as i64 }>,
        /// Only the most probable tokens whose probabilities add up to this.
        "top_p" => top_p: Real<limits::NativeTopMass>,
        /// Only tokens at least this fraction as probable as the best.
        "min_p" => min_p: Real<limits::BestFraction>,
        /// Divides the logit of a token that was seen lately, in the prompt too.
        "repeat_penalty" | "repetition_penalty" => repeat_penalty: Real<limits::Repetition>,
        /// How many of the last tokens count as lately; -1 for all.
        "repeat_last_n" => repeat_last_n: Int<-1, { i32::MAX as i64 }>,
        /// Taken from the logit for every time the token was seen lately.
        "frequency_penalty" => frequency_penalty: Real<limits::Penalty>,
        /// Taken once from the logit of a token that was seen lately.
        "presence_penalty" => presence_penalty: Real<limits::Penalty>,
        /// Biases of tokens and texts.
        "logit_bias" => logit_bias: NativeBiases,
        /// Never end by a token that ends a text.
        "ignore_eos" => ignore_eos: bool,
        /// The same seed gives the same answer; -1 for a new one each time.
        "seed" => seed: Seed,
        /// Texts that end the answer.
        "stop" => stop: NativeStops,
        /// Send the answer as it is written.
        "stream" => stream: bool,
        /// A GBNF grammar that the text has to follow.
        "grammar" => grammar: String,
        /// A JSON Schema that the text has to follow.
        "json_schema" => json_schema: Loose,
        /// Report the probabilities of that many of the most probable tokens.
        "n_probs" | "logprobs" => n_probs: Int<0, { limits::N_PROBS }>,
        /// Probabilities after the samplers, not before. Needs a `top_k` of 1 to 256, and none
        /// of penalties, biases and grammars.
        "post_sampling_probs" => post_sampling_probs: bool,
        /// The samplers that apply.
        "samplers" => samplers: SamplerNames,
        /// Report the tokens of the answer.
        "return_tokens" => return_tokens: bool,
        /// Report, in a stream, how much of the prompt was read.
        "return_progress" => return_progress: bool,
        /// Report times and counts with every chunk of a stream.
        "timings_per_token" => timings_per_token: bool,
        /// The fields of the answer that are wanted; `a/b` is the field `b` of `a`.
        "response_fields" => response_fields: Bounded<Name, { limits::RESPONSE_FIELDS }>,
        /// Milliseconds after the first token, after which the answer ends with its line.
        "t_max_predict_ms" => t_max_predict_ms: Int<-1, { i64::MAX }>,
        /// The answer ends at a line that is indented less than this, the first line aside.
        "n_indent" => n_indent: Int<0, { i32::MAX as i64 }>,
        /// A slot, which is repeated in the answer; any free one is taken.
        "id_slot" => id_slot: Int<-1, { i32::MAX as i64 }>,
    }

    /// What goes before the text of a native completion.
    struct NativePrompt {
        /// What goes before the text that is generated.
        #[schemars(required)]
        "prompt" => prompt: NativePrompts,
    }
}

/// The body of `/completion`, for the OpenAPI document.
pub(crate) enum NativeCompletion {}

impl JsonSchema for NativeCompletion {
    fn schema_name() -> Cow<'static, str> {
        "NativeCompletion".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        with_neutral::<NativePrompt>(generator, "A text to go on with, as llama-server takes it.")
    }
}

/// The schema of an object with these fields and those that every native route takes.
pub(super) fn with_neutral<A: JsonSchema>(
    generator: &mut SchemaGenerator,
    description: &str,
) -> Schema {
    let mut whole = together::<Native, A>(generator, description);
    let more = together::<Harmless, NeutralFields>(generator, "");
    if let (Some(fields), Some(more)) = (
        whole.get_mut("properties").and_then(|p| p.as_object_mut()),
        more.get("properties").and_then(|p| p.as_object()),
    ) {
        fields.extend(more.clone());
    }
    whole
}

/// What a native route does where the client says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeDefaults {
    /// How to sample; the seed is not used.
    pub params: SamplingParams,
    /// The seed; `None` for a new one each time.
    pub seed: Option<u64>,
    /// Most tokens to write; `None` for what fits.
    pub n_predict: Option<u32>,
}

impl Default for NativeDefaults {
    /// The model's own distribution, and as many tokens as fit.
    fn default() -> Self {
        NativeDefaults {
            params: openai_defaults(),
            seed: None,
            n_predict: None,
        }
    }
}

/// What a native route asks for. What only the model's vocabulary can say is still to be done:
/// tokens of prompts and of biased texts, and which tokens end a text.
#[derive(Clone, Debug)]
pub struct NativeRequest {
    /// The prompts. Together with the answers to each they ask for at most
    /// [`limits::ANSWERS`](crate::limits::ANSWERS) answers.
    pub prompts: Vec<MixedPrompt>,
    /// The rest, without prompts and biases.
    pub job: GenerationJob,
    /// Biases in the order in which they came.
    pub biases: Vec<(BiasedText, Bias)>,
    /// How to answer.
    pub options: NativeOptions,
}

/// How a native route answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeOptions {
    /// Most tokens to write; `None` for what fits, 0 to read the prompt only.
    pub n_predict: Option<u32>,
    /// Never end by a token that ends a text.
    pub ignore_eos: bool,
    /// How many of the most probable tokens to report.
    pub n_probs: usize,
    /// Report probabilities after the samplers.
    pub post_sampling_probs: bool,
    /// Report the tokens of the answer.
    pub return_tokens: bool,
    /// The fields that are wanted; empty for all.
    pub response_fields: Vec<String>,
    /// How long after the first token the answer ends with its line.
    pub time_limit: Option<Duration>,
    /// The answer ends at a line that is indented less than this.
    pub indent: usize,
    /// The slot that was asked for.
    pub id_slot: Option<u32>,
    /// The grammar as the client wrote it.
    pub grammar: String,
    /// The samplers that apply.
    pub samplers: Samplers,
}

/// Parses the body of `/completion`.
///
/// # Errors
/// Names the field that is wrong with its path, and how.
pub fn parse_native(body: &[u8], defaults: &NativeDefaults) -> Result<NativeRequest, ApiError> {
    type Whole = ((NativePrompt, Native), (NeutralFields, Harmless));
    let read: Read<(Whole, Others<OfNative>)> = fields::parse(body)?;
    let (((prompt, native), (neutral, _)), _) = read.fields;
    let Some(prompts) = prompt.prompt else {
        return Err(ApiError::field("prompt", "there must be a prompt"));
    };
    native.request(prompts.0, &neutral, defaults, (false, read.unknown))
}

impl Native {
    /// What these fields ask for, with these prompts. The pair says whether they are for an
    /// infill, and how many fields of the body nothing is called.
    ///
    /// # Errors
    /// Names the field that is wrong, and how.
    pub(super) fn request(
        mut self,
        prompts: Vec<MixedPrompt>,
        neutral: &NeutralFields,
        defaults: &NativeDefaults,
        (infill, unknown): (bool, usize),
    ) -> Result<NativeRequest, ApiError> {
        neutral.check()?;
        let n = self.n_cmpl.map_or(1, |n| n.0 as u32);
        let answers = prompts.len() * n as usize;
        if answers > limits::ANSWERS {
            let why = format!(
                "{n} answers to each of {} prompts are {answers}, but at most {} can be asked for \
                 at once",
                prompts.len(),
                limits::ANSWERS
            );
            return Err(ApiError::field("n_cmpl", why));
        }
        let biases = self.logit_bias.take().unwrap_or_default().0;
        let (shape, shape_field) = self.shape()?;
        let options = self.options(defaults, infill)?;
        let params = self.params(&defaults.params, options.samplers)?;
        if options.post_sampling_probs {
            let biased = !biases.is_empty() || options.ignore_eos;
            can_tell_samplers(&params, biased, shape.is_some())?;
        }
        let job = self.job(params, &options, n);
        Ok(NativeRequest {
            prompts,
            job: GenerationJob {
                shape,
                shape_field,
                seed: self.seed.map_or(defaults.seed, |seed| seed.0),
                unknown,
                ..job
            },
            biases,
            options,
        })
    }

    /// The job, but for what the caller fills in.
    fn job(&mut self, params: SamplingParams, options: &NativeOptions, n: u32) -> GenerationJob {
        let alternatives = if options.post_sampling_probs {
            params.top_k as usize
        } else {
            options.n_probs
        };
        let on = |switch: Option<bool>| switch.unwrap_or(false);
        let stream = on(self.stream);
        GenerationJob {
            params,
            penalized: PenalizedText::All,
            // The engine reads no prompt for nothing: one token is written, and not shown.
            max_tokens: options.n_predict.map(|most| most.max(1)),
            stop: self.stop.take().unwrap_or_default().0.into(),
            n,
            stream,
            logprobs: (options.n_probs > 0).then_some(alternatives),
            llama: LlamaOptions {
                tokens: true,
                timings_per_token: stream && on(self.timings_per_token),
                progress: stream && on(self.return_progress),
                ..LlamaOptions::default()
            },
            ..GenerationJob::new(false)
        }
    }

    /// How to answer.
    fn options(
        &mut self,
        defaults: &NativeDefaults,
        infill: bool,
    ) -> Result<NativeOptions, ApiError> {
        let names = self.response_fields.take().map(|list| list.0);
        let samplers = self.samplers.as_ref();
        let samplers = samplers.map(|names| Samplers::checked(names, infill));
        let asked = self.n_predict.map_or(-1, |n| n.0);
        let limit = self.t_max_predict_ms.map_or(-1, |ms| ms.0);
        let slot = self.id_slot.map_or(-1, |slot| slot.0);
        Ok(NativeOptions {
            n_predict: u32::try_from(asked).ok().or(defaults.n_predict),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            n_probs: self.n_probs.map_or(0, |n| n.0 as usize),
            post_sampling_probs: self.post_sampling_probs.unwrap_or(false),
            return_tokens: self.return_tokens.unwrap_or(false),
            response_fields: names.unwrap_or_default().into_iter().map(|n| n.0).collect(),
            time_limit: (limit > 0).then(|| Duration::from_millis(limit as u64)),
            indent: self.n_indent.map_or(0, |n| n.0 as usize),
            id_slot: u32::try_from(slot).ok(),
            grammar: self.grammar.take().unwrap_or_default(),
            samplers: samplers.transpose()?.unwrap_or_default(),
        })
    }

    /// What the text has to be, and which field says so.
    fn shape(&mut self) -> Result<(Option<AnswerShape>, &'static str), ApiError> {
        let schema = self.json_schema.take().map(|s| s.0);
        gbnf::shape(self.grammar.as_deref(), schema)
    }

    /// How to sample; what is not given is in `defaults`, and what does not apply is off.
    fn params(
        &self,
        defaults: &SamplingParams,
        samplers: Samplers,
    ) -> Result<SamplingParams, ApiError> {
        let temperature = self.temperature.as_ref();
        let top_p = self.top_p.as_ref().map_or(defaults.top_p, |p| p.0);
        let window = self.repeat_last_n.map_or(defaults.penalty_window, |n| {
            u32::try_from(n.0).unwrap_or(u32::MAX)
        });
        let mut params = SamplingParams {
            temperature: temperature.map_or(defaults.temperature, |t| t.0),
            top_p: top_p.max(f32::MIN_POSITIVE),
            top_k: self.top_k.map_or(defaults.top_k, |k| k.0.max(0) as u32),
            min_p: self.min_p.as_ref().map_or(defaults.min_p, |p| p.0),
            penalty_window: window,
            ..SamplingParams::default()
        };
        if !samplers.has("temperature") {
            params.temperature = 1.0;
        }
        if !samplers.has("top_p") {
            params.top_p = 1.0;
        }
        if !samplers.has("top_k") {
            params.top_k = 0;
        }
        if !samplers.has("min_p") {
            params.min_p = 0.0;
        }
        if samplers.has("penalties") && window != 0 {
            let repeat = self.repeat_penalty.as_ref();
            params.repeat_penalty = repeat.map_or(defaults.repeat_penalty, |p| p.0);
            let frequency = self.frequency_penalty.as_ref();
            params.frequency_penalty = frequency.map_or(defaults.frequency_penalty, |p| p.0);
            let presence = self.presence_penalty.as_ref();
            params.presence_penalty = presence.map_or(defaults.presence_penalty, |p| p.0);
        }
        let wrong = |e: card_core::sampler::SamplingError| {
            let name = e.name.replace('-', "_");
            ApiError::field(&name, format!("{name}: {e}"))
        };
        params.clone().checked().map_err(wrong)?;
        Ok(params)
    }
}

/// Whether the probabilities after the samplers can be told from those of the most probable
/// tokens before them.
fn can_tell_samplers(params: &SamplingParams, biased: bool, shaped: bool) -> Result<(), ApiError> {
    let penalized = params.repeat_penalty != 1.0
        || params.frequency_penalty != 0.0
        || params.presence_penalty != 0.0;
    let all = !(1..=limits::N_PROBS as u32).contains(&params.top_k);
    let why = match (all, penalized, biased, shaped) {
        (true, ..) => "a `top_k` of 1 to 256",
        (_, true, ..) => "that there are no penalties",
        (_, _, true, _) => "that there are no `logit_bias` and no `ignore_eos`",
        (_, _, _, true) => "that there is no `grammar` and no `json_schema`",
        _ => return Ok(()),
    };
    let why = format!("`post_sampling_probs` needs {why}; leave it out for plain probabilities");
    Err(ApiError::field("post_sampling_probs", why))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::llama_server::prompt::PromptSpan;

    fn parse(body: &str) -> Result<NativeRequest, ApiError> {
        parse_native(body.as_bytes(), &NativeDefaults::default())
    }

    fn with(fields: &str) -> Result<NativeRequest, ApiError> {
        parse(&format!(r#"{{"prompt":"a",{fields}}}"#))
    }

    #[test]
    fn what_is_not_said_is_the_server_s_own() {
        let asked = parse(r#"{"prompt":"a","x":1}"#).unwrap();
        assert_eq!(
            asked.prompts,
            [MixedPrompt(vec![PromptSpan::Text("a".into())])]
        );
        assert_eq!(asked.job.params, openai_defaults());
        assert_eq!(
            (asked.job.n, asked.job.max_tokens, asked.job.seed),
            (1, None, None)
        );
        assert_eq!((asked.job.stream, asked.job.unknown), (false, 1));
        let params = SamplingParams {
            temperature: 0.5,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.1,
            penalty_window: 64,
            ..openai_defaults()
        };
        let defaults = NativeDefaults {
            params: params.clone(),
            seed: Some(42),
            n_predict: Some(64),
        };
        let asked = parse_native(br#"{"prompt":"a"}"#, &defaults).unwrap();
        assert_eq!((asked.job.params, asked.job.seed), (params, Some(42)));
        assert_eq!(
            (asked.job.max_tokens, asked.options.n_predict),
            (Some(64), Some(64))
        );
    }

    #[test]
    fn a_prompt_alone_is_read_by_writing_a_token_that_is_not_shown() {
        let asked = with(r#""n_predict":0"#).unwrap();
        assert_eq!(
            (asked.job.max_tokens, asked.options.n_predict),
            (Some(1), Some(0))
        );
        assert_eq!(with(r#""n_predict":-1"#).unwrap().job.max_tokens, None);
        assert_eq!(with(r#""max_tokens":3"#).unwrap().job.max_tokens, Some(3));
    }

    #[test]
    fn every_field_that_llama_server_knows_is_known_here() {
        for name in super::super::KNOWN_FIELDS.split(' ') {
            let asked = with(&format!(r#""{name}":null"#)).unwrap();
            assert_eq!(asked.job.unknown, 0, "{name}");
        }
        assert_eq!(with(r#""no_such_field":null"#).unwrap().job.unknown, 1);
        assert!(with(r#""response_format":null,"tools":[]"#).is_ok());
    }

    #[test]
    fn samplers_that_are_left_out_are_off() {
        let asked = with(r#""samplers":["top_k"],"top_k":5,"top_p":0.1,"repeat_penalty":2"#);
        let params = asked.unwrap().job.params;
        assert_eq!((params.top_k, params.top_p, params.min_p), (5, 1.0, 0.0));
        assert_eq!((params.temperature, params.repeat_penalty), (1.0, 1.0));
    }

    #[test]
    fn errors_name_the_field() {
        for (fields, param) in [
            (r#""temperature":-1"#, "temperature"),
            (r#""n_predict":-2"#, "n_predict"),
            (r#""n_probs":257"#, "n_probs"),
            (r#""grammar":"root ::= (""#, "grammar"),
            (r#""grammar":"root ::= \"a\"","json_schema":{}"#, "grammar"),
            (r#""mirostat":2"#, "mirostat"),
            (r#""n_cmpl":17"#, "n_cmpl"),
            (
                r#""post_sampling_probs":true,"top_k":0"#,
                "post_sampling_probs",
            ),
            (
                r#""post_sampling_probs":true,"ignore_eos":true"#,
                "post_sampling_probs",
            ),
            (r#""response_fields":[1]"#, "response_fields[0]"),
            (r#""id_slot":"a""#, "id_slot"),
            (
                r#""response_format":{"type":"json_object"}"#,
                "response_format",
            ),
            (r#""messages":[{"role":"user","content":"a"}]"#, "messages"),
            (r#""tools":[{"type":"function"}]"#, "tools"),
        ] {
            let error = with(fields).unwrap_err();
            assert_eq!(error.param(), Some(param), "{fields}: {}", error.message());
        }
        let many = r#"{"prompt":["a","b","c","d","e"],"n":16}"#;
        assert_eq!(parse(many).unwrap_err().param(), Some("n_cmpl"));
        assert_eq!(parse("{}").unwrap_err().param(), Some("prompt"));
    }

    #[test]
    fn probabilities_after_the_samplers_need_all_tokens_that_they_keep() {
        let asked = with(r#""n_probs":3,"post_sampling_probs":true,"top_k":20"#).unwrap();
        assert_eq!((asked.job.logprobs, asked.options.n_probs), (Some(20), 3));
        assert_eq!(with(r#""n_probs":3"#).unwrap().job.logprobs, Some(3));
        assert_eq!(with(r#""n_probs":0"#).unwrap().job.logprobs, None);
    }
}
