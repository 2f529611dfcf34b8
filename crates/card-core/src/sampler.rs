//! Which token the target writes: a function of (logits, settings, seed, position).
//!
//! Sampling is Gumbel-max over the filtered distribution, with noise keyed by (seed,
//! position, token). So the choice does not depend on how or when the logits came
//! about, and a drafter that adds *the same* noise to its own logits agrees with the
//! target as often as two models can (a coupling; Maddison et al. 2014, "A* sampling",
//! §2; Kool et al. 2019 for Gumbel-top-k).

use serde::{Deserialize, Serialize};
use wide::f32x16;

use crate::constraint::allows;
use crate::types::Token;

/// Tokens less than e^-20 as probable as the best are never sampled. That is their
/// definition here, the same in every mode; it leaves out less than 3e-4 of the mass in
/// the flattest case of a 150k vocabulary, and spares drawing noise for all of it.
const FLOOR: f32 = 20.0;

/// How the next token is chosen. The default is greedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingParams {
    /// 0 takes the most probable token; 1 samples from the model's distribution.
    pub temperature: f32,
    /// Only the `top_k` most probable tokens; 0 for all.
    pub top_k: u32,
    /// Only the most probable tokens whose probabilities add up to this; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as probable as the best; 0 for all.
    pub min_p: f32,
    /// Divides (multiplies, if negative) the logit of a token seen lately; 1 for none.
    pub repeat_penalty: f32,
    /// Taken from the logit for every time the token was seen lately.
    pub frequency_penalty: f32,
    /// Taken once from the logit of a token seen lately.
    pub presence_penalty: f32,
    /// How many last tokens count as lately.
    pub penalty_window: u32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(Token, f32)>,
    /// The seed of the noise.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 64,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// A sampling setting that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}, but must be {expected}")]
pub struct SamplingError {
    /// The setting.
    pub name: &'static str,
    /// What was given.
    pub value: String,
    /// What is possible.
    pub expected: &'static str,
}

impl SamplingParams {
    /// Checks that every value is possible.
    ///
    /// # Errors
    /// Names the first setting that is not, and its range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |name, value: f32, ok: bool, expected| {
            if ok {
                return Ok(());
            }
            Err(SamplingError {
                name,
                value: value.to_string(),
                expected,
            })
        };
        let t = self.temperature;
        check(
            "temperature",
            t,
            (0.0..=100.0).contains(&t),
            "between 0 and 100",
        )?;
        let p = self.top_p;
        check("top-p", p, p > 0.0 && p <= 1.0, "above 0 and at most 1")?;
        let m = self.min_p;
        check("min-p", m, (0.0..=1.0).contains(&m), "between 0 and 1")?;
        let r = self.repeat_penalty;
        check(
            "repeat-penalty",
            r,
            r > 0.0 && r <= 100.0,
            "above 0 and at most 100",
        )?;
        let f = self.frequency_penalty;
        check(
            "frequency-penalty",
            f,
            f.abs() <= 100.0,
            "between -100 and 100",
        )?;
        let q = self.presence_penalty;
        check(
            "presence-penalty",
            q,
            q.abs() <= 100.0,
            "between -100 and 100",
        )?;
        for &(_, b) in &self.logit_bias {
            check("logit-bias", b, !b.is_nan(), "a number")?;
        }
        Ok(())
    }

    /// Whether the most probable token is always taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature <= 0.0
    }

    fn has_penalties(&self) -> bool {
        self.penalty_window > 0
            && (self.repeat_penalty != 1.0
                || self.frequency_penalty != 0.0
                || self.presence_penalty != 0.0)
    }
}

/// The token the sampler decided on, and how close the decision was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: Token,
    /// By how much (in logits) the decision would have to shift to become another one.
    pub margin: f32,
}

/// What the model thought of a token: natural logarithms of probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logprob {
    /// The token.
    pub token: Token,
    /// Its own.
    pub logprob: f32,
    /// The most probable tokens with theirs, best first.
    pub top: Vec<(Token, f32)>,
}

impl Logprob {
    /// Of `token` and the `top` most probable tokens, by the model's `logits` (length:
    /// vocabulary).
    pub fn of(logits: &[f32], token: Token, top: usize) -> Self {
        let mut best = Vec::new();
        best_k(logits, top.max(1), &mut best);
        let max = best.first().map_or(0.0, |b| b.0);
        let whole = max + sum_exp(logits, max).ln();
        let of = |logit: f32| logit - whole;
        Logprob {
            token,
            logprob: of(logits
                .get(token as usize)
                .copied()
                .unwrap_or(f32::NEG_INFINITY)),
            top: best.iter().take(top).map(|b| (b.1, of(b.0))).collect(),
        }
    }
}

/// Scratch space of sampling; keep one per thread to allocate nothing per token.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    logits: Vec<f32>,
    kept: Vec<(f32, Token)>,
    counts: Vec<(Token, u32)>,
}

impl Sampler {
    /// Decides the token at index `position` of a sequence whose tokens so far are
    /// `history`, from the model's `logits` (length: vocabulary) after them. `allowed` is the
    /// mask of a [constraint](crate::constraint::Constraint), if there is one.
    pub fn choose(
        &mut self,
        params: &SamplingParams,
        logits: &[f32],
        allowed: Option<&[u32]>,
        history: &[Token],
        position: u32,
    ) -> Choice {
        if params.is_greedy() {
            let mut adjusted = std::mem::take(&mut self.logits);
            let choice = two_best(self.adjust(params, logits, allowed, history, &mut adjusted));
            self.logits = adjusted;
            return choice;
        }
        self.filter(params, logits, allowed, history);
        let scale = params.temperature;
        let noisy =
            |&(logit, token): &(f32, Token)| logit / scale + gumbel(params.seed, position, token);
        let kept = &self.kept[..];
        let mut best = (f32::NEG_INFINITY, 0, 0);
        let mut second = f32::NEG_INFINITY;
        for (i, entry) in kept.iter().enumerate() {
            let score = noisy(entry);
            if score > best.0 {
                second = best.0;
                best = (score, entry.1, i);
            } else if score > second {
                second = score;
            }
        }
        Choice {
            token: best.1,
            margin: (best.0 - second) * scale,
        }
    }

    /// What a drafter proposes after `history`: up to `k` tokens with the probability it
    /// gives each of being the target's choice, best first. At a temperature the shared
    /// noise is added before the probabilities are taken.
    pub fn propose(
        &mut self,
        params: &SamplingParams,
        logits: &[f32],
        history: &[Token],
        position: u32,
        k: usize,
        out: &mut Vec<(Token, f32)>,
    ) {
        out.clear();
        if params.is_greedy() {
            let mut adjusted = std::mem::take(&mut self.logits);
            let logits = self.adjust(params, logits, None, history, &mut adjusted);
            let mut kept = std::mem::take(&mut self.kept);
            best_k(logits, k, &mut kept);
            let max = kept.first().map_or(0.0, |e| e.0);
            let total = sum_exp(logits, max);
            out.extend(
                kept.iter()
                    .map(|&(logit, token)| (token, (logit - max).exp() / total)),
            );
            self.logits = adjusted;
            self.kept = kept;
            return;
        }
        self.filter(params, logits, None, history);
        for entry in &mut self.kept {
            entry.0 = entry.0 / params.temperature + gumbel(params.seed, position, entry.1);
        }
        self.kept.sort_unstable_by(descending);
        let max = self.kept.first().map_or(0.0, |e| e.0);
        let total: f32 = self.kept.iter().map(|e| (e.0 - max).exp()).sum();
        out.extend(
            self.kept
                .iter()
                .take(k)
                .map(|&(score, token)| (token, (score - max).exp() / total)),
        );
    }

    /// Fills `self.kept` with the (logit, token) pairs that pass top-k, top-p and min-p.
    fn filter(
        &mut self,
        params: &SamplingParams,
        logits: &[f32],
        allowed: Option<&[u32]>,
        history: &[Token],
    ) {
        let mut adjusted = std::mem::take(&mut self.logits);
        let logits = self.adjust(params, logits, allowed, history, &mut adjusted);
        let scale = params.temperature;
        let kept = &mut self.kept;
        let max = maximum(logits);
        let reach = if params.min_p > 0.0 {
            FLOOR.min(-params.min_p.ln())
        } else {
            FLOOR
        };
        let floor = max - reach * scale;
        kept.clear();
        kept.extend(
            logits
                .iter()
                .enumerate()
                .filter(|(_, l)| **l >= floor)
                .map(|(t, l)| (*l, t as Token)),
        );
        let k = params.top_k as usize;
        if k > 0 && k < kept.len() {
            kept.select_nth_unstable_by(k - 1, descending);
            kept.truncate(k);
        }
        if params.top_p < 1.0 {
            kept.sort_unstable_by(descending);
            let total: f32 = kept.iter().map(|e| ((e.0 - max) / scale).exp()).sum();
            let mut mass = 0.0;
            let end = kept.iter().position(|e| {
                mass += ((e.0 - max) / scale).exp() / total;
                mass >= params.top_p
            });
            kept.truncate(end.map_or(kept.len(), |i| i + 1));
        }
        self.logits = adjusted;
    }

    /// The logits after mask, bias and penalties; the model's own if there are none.
    fn adjust<'a>(
        &mut self,
        params: &SamplingParams,
        logits: &'a [f32],
        allowed: Option<&[u32]>,
        history: &[Token],
        buffer: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        if allowed.is_none() && params.logit_bias.is_empty() && !params.has_penalties() {
            return logits;
        }
        buffer.clear();
        match allowed {
            None => buffer.extend_from_slice(logits),
            Some(mask) => {
                buffer.extend(logits.iter().enumerate().map(|(token, &logit)| {
                    match allows(mask, token as Token) {
                        true => logit,
                        false => f32::NEG_INFINITY,
                    }
                }))
            }
        }
        if params.has_penalties() {
            let window = history.len().min(params.penalty_window as usize);
            self.counts.clear();
            self.counts
                .extend(history[history.len() - window..].iter().map(|&t| (t, 1)));
            self.counts.sort_unstable();
            self.counts.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                kept.1 += u32::from(same);
                same
            });
            for &(token, count) in &self.counts {
                let Some(logit) = buffer.get_mut(token as usize) else {
                    continue;
                };
                if *logit > 0.0 {
                    *logit /= params.repeat_penalty;
                } else {
                    *logit *= params.repeat_penalty;
                }
                *logit -= count as f32 * params.frequency_penalty + params.presence_penalty;
            }
        }
        for &(token, bias) in &params.logit_bias {
            if let Some(logit) = buffer.get_mut(token as usize) {
                *logit += bias;
            }
        }
        buffer
    }
}

/// Larger score first; among equals the smaller token, so that ties are decided too.
fn descending(a: &(f32, Token), b: &(f32, Token)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

fn two_best(logits: &[f32]) -> Choice {
    let mut best = (f32::NEG_INFINITY, 0);
    let mut second = f32::NEG_INFINITY;
    // Most chunks hold nothing new, which their maximum tells at vector speed.
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        if maximum(chunk) <= second {
            continue;
        }
        for (j, &logit) in chunk.iter().enumerate() {
            if logit > best.0 {
                second = best.0;
                best = (logit, i * CHUNK + j);
            } else if logit > second {
                second = logit;
            }
        }
    }
    Choice {
        token: best.1 as Token,
        margin: best.0 - second,
    }
}

const CHUNK: usize = 256;

/// Largest value; lanes side by side let the compiler use vectors.
fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut chunks = values.chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    let all = lanes.iter().chain(chunks.remainder());
    all.fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

fn best_k(logits: &[f32], k: usize, out: &mut Vec<(f32, Token)>) {
    out.clear();
    let k = k.max(1);
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        if out.len() == k && maximum(chunk) <= out[k - 1].0 {
            continue;
        }
        for (j, &logit) in chunk.iter().enumerate() {
            if out.len() == k && logit <= out[k - 1].0 {
                continue;
            }
            let at = out.partition_point(|e| e.0 >= logit);
            out.insert(at, (logit, (i * CHUNK + j) as Token));
            out.truncate(k);
        }
    }
}

/// Sum of the exponentials of what `logits` are above `max`. A drafter needs it for each of
/// its steps, over the whole vocabulary.
fn sum_exp(logits: &[f32], max: f32) -> f32 {
    let term = |x: f32x16| {
        // What is far below the maximum adds nothing.
        let counts = x.simd_gt(f32x16::splat(-FLOOR));
        counts.select(x.exp(), f32x16::ZERO)
    };
    let (chunks, rest) = logits.as_chunks();
    let mut last = [f32::NEG_INFINITY; 16];
    last[..rest.len()].copy_from_slice(rest);
    let chunks = chunks.iter().chain([&last]);
    let sum = chunks.fold(f32x16::ZERO, |sum, chunk| {
        sum + term(f32x16::new(*chunk) - f32x16::splat(max))
    });
    sum.reduce_add()
}

/// Standard Gumbel noise for one token at one position: a function, not a stream.
pub fn gumbel(seed: u64, position: u32, token: Token) -> f32 {
    let mut x = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
    x = mix(x ^ u64::from(position));
    x = mix(x ^ u64::from(token).wrapping_mul(0xff51_afd7_ed55_8ccd));
    // 53 bits in (0, 1): neither end can come up.
    let u = ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (-(-u.ln()).ln()) as f32
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn softmax(logits: &[f32]) -> Vec<f64> {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f64> = logits.iter().map(|l| f64::from(l - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|x| x / sum).collect()
    }

    #[test]
    fn gumbel_max_samples_the_distribution() {
        let logits = [1.0, 0.0, -1.0, 2.0, 0.5];
        let params = SamplingParams {
            temperature: 1.0,
            seed: 7,
            ..Default::default()
        };
        let mut sampler = Sampler::default();
        let n = 40_000;
        let mut counts = [0f64; 5];
        for position in 0..n {
            counts[sampler.choose(&params, &logits, None, &[], position).token as usize] += 1.0;
        }
        for (count, p) in counts.iter().zip(softmax(&logits)) {
            let sigma = (p * (1.0 - p) / f64::from(n)).sqrt();
            assert!((count / f64::from(n) - p).abs() < 5.0 * sigma);
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_reports_the_margin() {
        let mut s = Sampler::default();
        let params = SamplingParams::default();
        let c = s.choose(&params, &[1.0, 3.0, 2.5, 3.0], None, &[], 0);
        assert_eq!((c.token, c.margin), (1, 0.0));
        let c = s.choose(&params, &[1.0, 2.0, 1.5], None, &[], 0);
        assert_eq!((c.token, c.margin), (1, 0.5));
    }

    #[test]
    fn filters_leave_what_they_should() {
        let logits = [0.0, 3.0, 2.0, 1.0];
        let mut s = Sampler::default();
        let with = |f: fn(&mut SamplingParams)| {
            let mut p = SamplingParams {
                temperature: 1.0,
                ..Default::default()
            };
            f(&mut p);
            p
        };
        let kept = |s: &mut Sampler, p: &SamplingParams| {
            s.filter(p, &logits, None, &[]);
            let mut t: Vec<Token> = s.kept.iter().map(|e| e.1).collect();
            t.sort_unstable();
            t
        };
        assert_eq!(kept(&mut s, &with(|p| p.top_k = 2)), [1, 2]);
        assert_eq!(kept(&mut s, &with(|p| p.top_p = 0.5)), [1]);
        assert_eq!(kept(&mut s, &with(|p| p.min_p = 0.2)), [1, 2]);
        assert_eq!(kept(&mut s, &with(|_| ())), [0, 1, 2, 3]);
    }

    #[test]
    fn penalties_count_the_window_only() {
        let params = SamplingParams {
            frequency_penalty: 0.6,
            penalty_window: 2,
            ..Default::default()
        };
        let mut s = Sampler::default();
        let logits = [2.0, 1.0];
        assert_eq!(s.choose(&params, &logits, None, &[0, 0], 2).token, 1);
        assert_eq!(s.choose(&params, &logits, None, &[0, 0, 1, 1], 4).token, 0);
    }

    #[test]
    fn proposals_are_the_target_choice_when_the_models_agree() {
        let logits: Vec<f32> = (0..50).map(|i| ((i * 37) % 50) as f32 / 10.0).collect();
        let params = SamplingParams {
            temperature: 0.8,
            top_p: 0.95,
            seed: 3,
            ..Default::default()
        };
        let mut s = Sampler::default();
        let mut out = Vec::new();
        for position in 0..200 {
            let choice = s.choose(&params, &logits, None, &[], position);
            s.propose(&params, &logits, &[], position, 4, &mut out);
            assert_eq!(out[0].0, choice.token);
            assert!(out.is_sorted_by(|a, b| a.1 >= b.1));
        }
    }

    #[test]
    fn a_mask_excludes_and_logprobs_are_the_models_own() {
        let mut s = Sampler::default();
        let logits = [1.0, 3.0, 2.0];
        let greedy = SamplingParams::default();
        let mask = [0b101];
        assert_eq!(s.choose(&greedy, &logits, Some(&mask), &[], 0).token, 2);
        let sampled = SamplingParams {
            temperature: 1.0,
            ..greedy
        };
        for position in 0..50 {
            let choice = s.choose(&sampled, &logits, Some(&mask), &[], position);
            assert_ne!(choice.token, 1);
        }
        let of = Logprob::of(&logits, 2, 2);
        let whole: f32 = logits.iter().map(|l| l.exp()).sum();
        assert!((of.logprob - (2.0 - whole.ln())).abs() < 1e-5);
        assert_eq!(of.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn impossible_settings_are_named() {
        let p = SamplingParams {
            top_p: 0.0,
            ..Default::default()
        };
        let message = p.validate().map_err(|e| e.to_string());
        let expected = "top-p is 0, but must be above 0 and at most 1";
        assert_eq!(message, Err(expected.to_string()));
        let p = SamplingParams {
            temperature: f32::NAN,
            ..Default::default()
        };
        assert!(p.validate().is_err());
    }
}
