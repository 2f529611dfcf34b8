//! `generation_settings`: the settings of an answer, under llama-server's names.

use card_api::llama_server::completion::NativeOptions;
use card_api::{AnswerShape, GenerationJob};
use card_core::sampler::{Bias, SamplingParams};
use serde_json::{Map, Value, json};

/// The settings of a job. What is not done here is told as it is where it is off.
pub(super) fn settings(job: &GenerationJob, options: &NativeOptions) -> Map<String, Value> {
    let mut all = sampling(&job.params);
    let most = options.n_predict.map_or(-1, i64::from);
    let schema = match &job.shape {
        Some(AnswerShape::Schema(schema)) => schema.clone(),
        _ => Value::Null,
    };
    let biases = job.params.logit_bias.iter().map(|(token, bias)| {
        let bias = match bias {
            Bias::Ban => Value::Null,
            Bias::Add(shift) => shift.get().into(),
        };
        json!({ "token": token, "bias": bias })
    });
    let more = json!({
        "max_tokens": most,
        "n_predict": most,
        "ignore_eos": options.ignore_eos,
        "stream": job.stream,
        "stop": job.stop.iter().collect::<Vec<_>>(),
        "logit_bias": biases.collect::<Vec<Value>>(),
        "n_probs": options.n_probs,
        "post_sampling_probs": options.post_sampling_probs,
        "timings_per_token": job.llama.timings_per_token,
        "samplers": options.samplers.names().collect::<Vec<_>>(),
        "grammar": options.grammar,
        "json_schema": schema,
    });
    if let Value::Object(more) = more {
        all.extend(more);
    }
    all
}

/// The settings of sampling, and what is never done. `/props` tells them, too.
pub(in crate::protocols) fn sampling(params: &SamplingParams) -> Map<String, Value> {
    let window = i64::from(params.penalty_window);
    let all = json!({
        "seed": params.seed,
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p,
        // -1 is for all tokens.
        "repeat_last_n": if params.penalty_window == u32::MAX { -1 } else { window },
        "repeat_penalty": params.repeat_penalty,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "dynatemp_range": 0.0,
        "dynatemp_exponent": 1.0,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "xtc_threshold": 0.1,
        "typical_p": 1.0,
        "dry_multiplier": 0.0,
        "dry_base": 1.75,
        "dry_allowed_length": 2,
        "dry_penalty_last_n": 0,
        "dry_sequence_breakers": [],
        "mirostat": 0,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
        "adaptive_target": -1.0,
        "adaptive_decay": 0.9,
        "n_keep": 0,
        "n_discard": 0,
        "min_keep": 0,
        "grammar_lazy": false,
        "grammar_triggers": [],
        "preserved_tokens": [],
        "backend_sampling": false,
        "lora": [],
    });
    match all {
        Value::Object(all) => all,
        // It is one.
        _ => Map::new(),
    }
}
