//! Fields of llama-server that are not done here. Those that could change the text are taken
//! where they are off, and refused by name where they are on; the others change no text.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use crate::reading::fields::fields;
use crate::reading::refused::{Neutral, OtherFields, RefusedField};
use crate::reading::strict::Anything;

/// A list of which only its being empty counts.
pub(crate) struct EmptyList(bool);

impl<'de> Deserialize<'de> for EmptyList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut empty = true;
        deserializer.deserialize_seq(AnyList(&mut empty))?;
        Ok(EmptyList(empty))
    }
}

impl JsonSchema for EmptyList {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EmptyList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array" })
    }
}

/// Reads a list and says whether it was empty.
struct AnyList<'a>(&'a mut bool);

impl<'de> serde::de::Visitor<'de> for AnyList<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {
            *self.0 = false;
        }
        Ok(())
    }
}

fields! {
    /// What is taken only where it is off.
    struct NeutralFields {
        /// Must be 0: the DRY sampler is not done.
        "dry_multiplier" => dry_multiplier: f64,
        /// Must be 0: the XTC sampler is not done.
        "xtc_probability" => xtc_probability: f64,
        /// Must be 1 or more: locally typical sampling is not done.
        "typical_p" | "typ_p" => typical_p: f64,
        /// Must be 0 or less: the top-n-sigma sampler is not done.
        "top_n_sigma" => top_n_sigma: f64,
        /// Must be 0: Mirostat is not done.
        "mirostat" => mirostat: f64,
        /// Must be 0: a dynamic temperature is not done.
        "dynatemp_range" => dynatemp_range: f64,
        /// Must be negative: adaptive sampling is not done.
        "adaptive_target" => adaptive_target: f64,
        /// Must be 0 or 1: filters always keep one token.
        "min_keep" => min_keep: f64,
        /// Must be negative: thoughts of a native answer are text like the rest.
        "reasoning_budget_tokens" => reasoning_budget_tokens: f64,
        /// Must be empty: there are no LoRA adapters.
        "lora" => lora: EmptyList,
        /// Must be empty: this server reads text only.
        "image_data" => image_data: EmptyList,
        /// Must be false: a grammar holds from the first token on.
        "grammar_lazy" => grammar_lazy: bool,
        /// Must be empty: a grammar holds from the first token on.
        "grammar_triggers" => grammar_triggers: EmptyList,
        /// Must be false: there is no `__verbose`.
        "verbose" => verbose: bool,
        /// Must be false: a native answer never begins with the prompt.
        "echo" => echo: bool,
    }

    /// What changes no text here.
    #[allow(dead_code)] // They are read so that the document has them.
    struct Harmless {
        /// The model's name; the server has one, which answers whatever stands here.
        "model" => model: Anything,
        /// Without effect: a prompt that an earlier one begins like is never read again, and
        /// the text is the same either way.
        "cache_prompt" => cache_prompt: Anything,
        /// Without effect: it lets thoughts be ended at another path, and changes no text by itself.
        "reasoning_control" => reasoning_control: Anything,
        /// Without effect: nothing is shifted out of the context.
        "n_keep" => n_keep: Anything,
        /// Without effect: nothing is shifted out of the context.
        "n_discard" => n_discard: Anything,
        /// Without effect: nothing is shifted in the cache.
        "n_cache_reuse" => n_cache_reuse: Anything,
        /// Without effect in llama-server, too.
        "t_max_prompt_ms" => t_max_prompt_ms: Anything,
        /// Without effect: native streams have no usage.
        "stream_options" => stream_options: Anything,
        /// Without effect: streams send comments at a pace of their own.
        "sse_ping_interval" => sse_ping_interval: Anything,
        /// Without effect: the text is the same wherever tokens are sampled.
        "backend_sampling" => backend_sampling: Anything,
        /// Without effect: speculation changes no text.
        "speculative.n_max" => speculative_n_max: Anything,
        /// Without effect: speculation changes no text.
        "speculative.n_min" => speculative_n_min: Anything,
        /// Without effect: speculation changes no text.
        "speculative.p_min" => speculative_p_min: Anything,
        /// Without effect: speculation changes no text.
        "speculative.type" | "speculative.types" => speculative_type: Anything,
        /// Without effect: speculation changes no text.
        "speculative.ngram_size_n" => speculative_ngram_size_n: Anything,
        /// Without effect: speculation changes no text.
        "speculative.ngram_size_m" => speculative_ngram_size_m: Anything,
        /// Without effect: speculation changes no text.
        "speculative.ngram_min_hits" => speculative_ngram_min_hits: Anything,
        /// Without effect where `dry_multiplier` is 0.
        "dry_base" => dry_base: Anything,
        /// Without effect where `dry_multiplier` is 0.
        "dry_allowed_length" => dry_allowed_length: Anything,
        /// Without effect where `dry_multiplier` is 0.
        "dry_penalty_last_n" => dry_penalty_last_n: Anything,
        /// Without effect where `dry_multiplier` is 0.
        "dry_sequence_breakers" => dry_sequence_breakers: Anything,
        /// Without effect where `xtc_probability` is 0.
        "xtc_threshold" => xtc_threshold: Anything,
        /// Without effect where `mirostat` is 0.
        "mirostat_tau" => mirostat_tau: Anything,
        /// Without effect where `mirostat` is 0.
        "mirostat_eta" => mirostat_eta: Anything,
        /// Without effect where `dynatemp_range` is 0.
        "dynatemp_exponent" => dynatemp_exponent: Anything,
        /// Without effect where `adaptive_target` is negative.
        "adaptive_decay" => adaptive_decay: Anything,
        /// Without effect where there are no triggers.
        "preserved_tokens" => preserved_tokens: Anything,
        /// Without effect: a native answer is the text as the model writes it.
        "reasoning_format" => reasoning_format: Anything,
        /// Without effect: a native answer is the text as the model writes it.
        "parse_tool_calls" => parse_tool_calls: Anything,
        /// Without effect: a native answer is the text as the model writes it.
        "chat_format" => chat_format: Anything,
        /// Without effect: a native answer is the text as the model writes it.
        "chat_parser" => chat_parser: Anything,
        /// Without effect: a native answer is the text as the model writes it.
        "generation_prompt" => generation_prompt: Anything,
        /// Without effect: a native answer goes on with its prompt.
        "continue_final_message" => continue_final_message: Anything,
        /// Without effect where `reasoning_budget_tokens` is negative.
        "reasoning_budget_start_tag" => reasoning_budget_start_tag: Anything,
        /// Without effect where `reasoning_budget_tokens` is negative.
        "reasoning_budget_end_tags" | "reasoning_budget_end_tag" => reasoning_budget_end_tags: Anything,
        /// Without effect where `reasoning_budget_tokens` is negative.
        "reasoning_budget_message" => reasoning_budget_message: Anything,
    }
}

/// The fields of other paths that would say what a native answer has to be. llama-server ignores
/// them here; an answer without them would be a wrong one.
pub(super) enum OfNative {}

impl OtherFields for OfNative {
    const REFUSED: &'static [&'static [RefusedField]] = &[&[
        elsewhere("response_format", "send the schema as `json_schema`"),
        elsewhere("structured_outputs", "send the schema as `json_schema`"),
        elsewhere("guided_json", "send the schema as `json_schema`"),
        elsewhere("messages", "ask /v1/chat/completions"),
        elsewhere("tools", "ask /v1/chat/completions"),
    ]];
    const WITHOUT_EFFECT: &'static [&'static [(&'static str, &'static str)]] = &[];
}

const fn elsewhere(name: &'static str, instead: &'static str) -> RefusedField {
    RefusedField {
        name,
        neutral: Neutral::Empty,
        instead,
    }
}

impl NeutralFields {
    /// Whether everything is off.
    ///
    /// # Errors
    /// Names the first field that is on.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        type Off = fn(f64) -> bool;
        let zero: Off = |x| x == 0.0;
        let budget = self.reasoning_budget_tokens;
        let numbers: [(&str, Option<f64>, Off, &str); 9] = [
            ("dry_multiplier", self.dry_multiplier, zero, "0"),
            ("xtc_probability", self.xtc_probability, zero, "0"),
            ("typical_p", self.typical_p, |x| x >= 1.0, "1"),
            ("top_n_sigma", self.top_n_sigma, |x| x <= 0.0, "-1"),
            ("mirostat", self.mirostat, zero, "0"),
            ("dynatemp_range", self.dynatemp_range, zero, "0"),
            ("adaptive_target", self.adaptive_target, |x| x < 0.0, "-1"),
            ("reasoning_budget_tokens", budget, |x| x < 0.0, "-1"),
            ("min_keep", self.min_keep, |x| (0.0..=1.0).contains(&x), "0"),
        ];
        for (name, value, off, neutral) in numbers {
            if let Some(value) = value.filter(|&x| !off(x)) {
                return Err(not_done(name, &value.to_string(), neutral));
            }
        }
        let lists = [
            ("lora", &self.lora),
            ("image_data", &self.image_data),
            ("grammar_triggers", &self.grammar_triggers),
        ];
        for (name, list) in lists {
            if list.as_ref().is_some_and(|list| !list.0) {
                return Err(not_done(name, "a list with something in it", "[]"));
            }
        }
        let switches = [
            ("grammar_lazy", self.grammar_lazy),
            ("verbose", self.verbose),
            ("echo", self.echo),
        ];
        for (name, on) in switches {
            if on == Some(true) {
                return Err(not_done(name, "true", "false"));
            }
        }
        Ok(())
    }
}

fn not_done(name: &str, value: &str, neutral: &str) -> ApiError {
    let why = format!("`{name}` of {value} is not supported; leave it out, or set it to {neutral}");
    ApiError::field(name, why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::reading::fields::{self, Read};

    fn check(body: &str) -> Result<(), ApiError> {
        let read: Read<(NeutralFields, Harmless)> = fields::parse(body.as_bytes())?;
        assert_eq!(read.unknown, 0, "{body}");
        read.fields.0.check()
    }

    #[test]
    fn what_is_not_done_is_refused_by_name_and_taken_where_it_is_off() {
        let off = r#"{"dry_multiplier":0,"xtc_probability":0.0,"typical_p":1,"typ_p":1.0,
            "top_n_sigma":-1,"mirostat":0,"dynatemp_range":0,"adaptive_target":-1.0,"min_keep":0,
            "lora":[],"image_data":[],"grammar_lazy":false,"grammar_triggers":[],"verbose":false,
            "reasoning_budget_tokens":-1,"reasoning_control":true,"parse_tool_calls":true,
            "reasoning_budget_end_tag":"</think>","continue_final_message":true,
            "echo":false,"n_keep":-1,"dry_base":1.75,"mirostat_tau":5,"speculative.p_min":0.0}"#;
        assert_eq!(check(off), Ok(()));
        for (name, on) in [
            ("dry_multiplier", "0.8"),
            ("xtc_probability", "0.1"),
            ("typical_p", "0.5"),
            ("top_n_sigma", "1"),
            ("mirostat", "2"),
            ("dynatemp_range", "0.5"),
            ("adaptive_target", "0.5"),
            ("min_keep", "5"),
            ("reasoning_budget_tokens", "0"),
            ("lora", r#"[{"id":0,"scale":1}]"#),
            ("image_data", "[1]"),
            ("grammar_lazy", "true"),
            ("grammar_triggers", "[{}]"),
            ("verbose", "true"),
            ("echo", "true"),
        ] {
            let error = check(&format!(r#"{{"{name}":{on}}}"#)).unwrap_err();
            assert_eq!(error.param(), Some(name));
            assert!(error.message().contains(name), "{}", error.message());
        }
    }
}
