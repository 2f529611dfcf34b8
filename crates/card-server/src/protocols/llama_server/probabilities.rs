//! `completion_probabilities`: what the model thought of the tokens it wrote.

use card_core::sampler::SamplingParams;
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::generation::PieceLogprob;

/// Probabilities of tokens. They are written as they are, since as JSON values they would take
/// ten times the memory.
pub(super) struct Probabilities<'a> {
    pub(super) tokens: &'a [PieceLogprob],
    pub(super) shown: ShownProbabilities<'a>,
}

/// How probabilities are told.
#[derive(Clone, Copy)]
pub(super) struct ShownProbabilities<'a> {
    /// How many of the most probable tokens to tell.
    pub(super) most: usize,
    /// The settings of the samplers, if probabilities after them are told.
    pub(super) after: Option<&'a SamplingParams>,
}

impl Serialize for Probabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.tokens.iter().map(|token| self.shown.entry(token)))
    }
}

impl ShownProbabilities<'_> {
    /// What is told of a token.
    pub(super) fn entry(&self, token: &PieceLogprob) -> Value {
        let own = (token.token, token.bytes.as_slice());
        let ranked = token.top_tokens.iter().zip(&token.top);
        let ranked = ranked.map(|(&id, (bytes, log))| (id, bytes.as_slice(), *log));
        let Some(params) = self.after else {
            let top = ranked.take(self.most);
            let top = top.map(|(id, bytes, log)| entry(id, bytes, "logprob", finite(log)));
            let top: Vec<Value> = top.map(Value::Object).collect();
            let mut whole = entry(
                own.0,
                own.1,
                "logprob",
                finite(token.logprob.unwrap_or(f32::NAN)),
            );
            whole.insert("top_logprobs".into(), top.into());
            return Value::Object(whole);
        };
        let logs: Vec<f32> = token.top.iter().map(|(_, log)| *log).collect();
        let kept = after_samplers(params, &logs);
        let place = token.top_tokens.iter().position(|&id| id == own.0);
        // What was written was kept.
        let prob = place.and_then(|at| kept.get(at)).or(kept.last());
        let mut whole = entry(own.0, own.1, "prob", prob.copied().unwrap_or(1.0));
        let top = ranked.zip(&kept).take(self.most);
        let top = top.filter(|(_, prob)| **prob > 0.0);
        let top = top.map(|((id, bytes, _), prob)| entry(id, bytes, "prob", *prob));
        let top: Vec<Value> = top.map(Value::Object).collect();
        whole.insert("top_probs".into(), top.into());
        Value::Object(whole)
    }
}

fn entry(id: u32, bytes: &[u8], name: &str, value: f64) -> Map<String, Value> {
    let mut all = Map::new();
    all.insert("id".into(), id.into());
    all.insert("token".into(), valid_text(bytes).into());
    all.insert("bytes".into(), json!(bytes));
    all.insert(name.into(), json!(value));
    all
}

/// The bytes up to the first that is no text.
fn valid_text(bytes: &[u8]) -> &str {
    bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
}

/// A log probability as JSON can have it; -9999 is for what cannot be.
fn finite(log: f32) -> f64 {
    if log.is_nan() {
        return -9999.0;
    }
    f64::from(log.clamp(-9999.0, 0.0))
}

/// The probabilities of the tokens that the samplers keep. `logs` are the log probabilities of
/// the most probable tokens, best first, and of all that top-k keeps: min-p, top-k, the
/// temperature, then top-p, as [`card_core::sampler`] applies them.
fn after_samplers(params: &SamplingParams, logs: &[f32]) -> Vec<f64> {
    let Some(&best) = logs.first() else {
        return Vec::new();
    };
    if params.temperature <= 0.0 {
        return vec![1.0];
    }
    let least = f64::from(best) + f64::from(params.min_p).ln();
    let ranked = logs.iter().take(params.top_k as usize);
    let ranked = ranked.map(|&log| f64::from(log));
    let ranked = ranked.take_while(|&log| params.min_p <= 0.0 || log >= least);
    let heat = f64::from(params.temperature);
    let weights: Vec<f64> = ranked
        .map(|log| ((log - f64::from(best)) / heat).exp())
        .collect();
    let wanted = weights.iter().sum::<f64>() * f64::from(params.top_p);
    let (mut kept, mut mass) = (0, 0.0);
    while kept < weights.len() && (kept == 0 || mass < wanted) {
        mass += weights[kept];
        kept += 1;
    }
    weights[..kept].iter().map(|weight| weight / mass).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> SamplingParams {
        SamplingParams {
            temperature: 1.0,
            top_k: 3,
            ..SamplingParams::default()
        }
    }

    fn logs(probs: &[f32]) -> Vec<f32> {
        probs.iter().map(|p| p.ln()).collect()
    }

    #[test]
    fn samplers_keep_what_they_keep_and_it_adds_up_to_one() {
        let all = logs(&[0.5, 0.25, 0.125, 0.0625]);
        let near = |got: Vec<f64>, wanted: &[f64]| {
            assert_eq!(got.len(), wanted.len(), "{got:?}");
            assert!(
                got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6),
                "{got:?}"
            );
        };
        near(
            after_samplers(&params(), &all),
            &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0],
        );
        let half = SamplingParams {
            top_p: 0.8,
            ..params()
        };
        near(after_samplers(&half, &all), &[2.0 / 3.0, 1.0 / 3.0]);
        let least = SamplingParams {
            min_p: 0.4,
            ..params()
        };
        near(after_samplers(&least, &all), &[2.0 / 3.0, 1.0 / 3.0]);
        let cold = SamplingParams {
            temperature: 0.5,
            top_k: 2,
            ..params()
        };
        near(after_samplers(&cold, &all), &[0.8, 0.2]);
        let greedy = SamplingParams {
            temperature: 0.0,
            ..params()
        };
        near(after_samplers(&greedy, &all), &[1.0]);
        assert!(after_samplers(&params(), &[]).is_empty());
    }

    #[test]
    fn a_token_is_told_with_its_number_its_text_and_its_bytes() {
        let token = PieceLogprob {
            token: 7,
            bytes: vec![b'a', 0xff],
            logprob: Some(-0.5),
            top: vec![(vec![b'b'], -0.1), (vec![b'a', 0xff], -0.5)],
            top_tokens: vec![8, 7],
            offset: 0,
        };
        let plain = ShownProbabilities {
            most: 1,
            after: None,
        };
        let told = plain.entry(&token);
        assert_eq!((&told["id"], &told["token"]), (&json!(7), &json!("a")));
        assert_eq!(told["bytes"], json!([97, 255]));
        assert_eq!(told["top_logprobs"].as_array().map(Vec::len), Some(1));
        assert_eq!(told["top_logprobs"][0]["id"], 8);
        let params = params();
        let after = ShownProbabilities {
            most: 5,
            after: Some(&params),
        };
        let told = after.entry(&token);
        assert_eq!(told["top_probs"].as_array().map(Vec::len), Some(2));
        assert_eq!(told["prob"], told["top_probs"][1]["prob"]);
    }
}
