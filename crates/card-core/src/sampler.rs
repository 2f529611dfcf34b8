//! Which token the target writes: a function of (logits, settings, seed, position).
//!
//! Sampling is Gumbel-max over the filtered distribution, with noise keyed by (seed,
//! position, token). So the choice does not depend on how or when the logits came
//! about, and a drafter that adds *the same* noise to its own logits agrees with the
//! target as often as two models can (a coupling; Maddison et al. 2014, "A* sampling",
//! §2; Kool et al. 2019 for Gumbel-top-k).
//!
//! Every logit is some number here: one that is no number (NaN) counts as −∞, that is as
//! banned, and +∞ as the largest number there is. The largest logit is taken off before
//! anything is divided by the temperature, and scores are 64-bit numbers, so that no
//! temperature makes them infinite.
//!
//! If *nothing* may be written, since every token is banned, masked or no number, the choice
//! is the first token the mask allows, or token 0 without a mask: a request's bans do not
//! outweigh the grammar it asked for, and a model that fails does not end the engine.
//!
//! With each choice comes its margin: how far off the logits may be for it to be the same.
//! The private module `near` says how it is found.

mod bias;
mod near;
mod settings;

use serde::{Deserialize, Serialize};
use wide::f32x16;

use crate::constraint::allows;
use crate::types::{Prob, Token};
use near::Near;

pub use bias::{Bias, LogitBias, Shift};
pub use settings::{Sampling, SamplingError, SamplingParams};

/// Tokens less than e^-20 as probable as the best are never sampled. That is their
/// definition here, the same in every mode; it leaves out less than 3e-4 of the mass in
/// the flattest case of a 150k vocabulary, and spares drawing noise for all of it.
const FLOOR: f32 = 20.0;

/// The token the sampler decided on, and how close the decision was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: Token,
    /// The same token is chosen as long as no logit moves by half of this or more. With noise
    /// or filters it may be smaller than it could be, never larger, and beyond what the
    /// sampler [looks for](Sampler::looking_up_to) it is that.
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
    /// Most tokens of which it can be asked.
    pub const MOST: usize = 256;
    /// The logarithm given for a token that is impossible, as OpenAI does: −∞ is no JSON.
    pub const LEAST: f32 = -9999.0;

    /// Of `token` and the `top` most probable tokens, by the model's `logits` (length:
    /// vocabulary).
    pub fn of(logits: &[f32], token: Token, top: usize) -> Self {
        let top = top.min(Logprob::MOST);
        let mut best = Vec::new();
        best_k(logits, top.max(1), &mut best);
        let max = best.first().map_or(0.0, |b| b.0.min(f32::MAX));
        let whole = max + sum_exp(logits, max).ln();
        let of = |logit: f32| match logit > f32::NEG_INFINITY {
            true => (logit.min(f32::MAX) - whole).clamp(Logprob::LEAST, 0.0),
            false => Logprob::LEAST,
        };
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
#[derive(Clone, Debug)]
pub struct Sampler {
    logits: Vec<f32>,
    best: Vec<(f32, Token)>,
    near: Near,
    scores: Vec<(f64, Token)>,
    counts: Vec<(Token, u32)>,
    /// Margins are looked for up to here.
    look: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler::looking_up_to(f32::INFINITY)
    }
}

impl Sampler {
    /// A sampler for one who does not care how much larger than `margin` a margin is. With
    /// filters, finding large margins takes a look at many tokens that cannot be chosen. None
    /// is looked for beyond a bound of the sampler's own, 8 logits.
    pub fn looking_up_to(margin: f32) -> Self {
        let look = if margin > 0.0 { f64::from(margin) } else { 0.0 };
        Sampler {
            logits: Vec::new(),
            best: Vec::new(),
            near: Near::default(),
            scores: Vec::new(),
            counts: Vec::new(),
            look: look.min(near::FAR),
        }
    }

    /// Decides the token at index `position` of a sequence whose tokens so far are
    /// `history`, from the model's `logits` (length: vocabulary) after them. `allowed` is the
    /// mask of a [constraint](crate::constraint::Constraint), if there is one.
    pub fn choose(
        &mut self,
        params: &Sampling,
        logits: &[f32],
        allowed: Option<&[u32]>,
        history: &[Token],
        position: u32,
    ) -> Choice {
        let mut adjusted = std::mem::take(&mut self.logits);
        let values = self.adjust(params, logits, allowed, history, &mut adjusted);
        let stretch = stretch(params, history);
        let choice = match params.is_greedy() {
            true => two_best(values),
            false => self.sample(params, values, position, self.look * stretch),
        };
        self.logits = adjusted;
        let (token, margin) = choice.unwrap_or((first_allowed(allowed), f64::INFINITY));
        Choice {
            token,
            margin: (margin / stretch) as f32,
        }
    }

    /// The token with the highest score, and its margin in the logits given; `None` if there
    /// is no token.
    fn sample(
        &mut self,
        params: &Sampling,
        logits: &[f32],
        position: u32,
        look: f64,
    ) -> Option<(Token, f64)> {
        if !self.near.take(params, logits, look) {
            return None;
        }
        let near = &self.near;
        let noise = |token| f64::from(gumbel(params.seed, position, token));
        let mut best = (f64::NEG_INFINITY, Token::MAX, 0);
        let mut second = f64::NEG_INFINITY;
        for (i, &(logit, token)) in near.kept().iter().enumerate() {
            let score = near.score(logit) + noise(token);
            // Equals go to the smaller token, in whatever order they are.
            if score > best.0 || score == best.0 && token < best.1 {
                second = best.0;
                best = (score, token, i);
            } else if score > second {
                second = score;
            }
        }
        let (score, token, winner) = best;
        Some((token, near.margin(winner, score, second, noise)))
    }

    /// What a drafter proposes after `history`: up to `k` tokens with the probability it
    /// gives each of being the target's choice, best first. At a temperature the shared
    /// noise is added before the probabilities are taken. Nothing, if every token is banned
    /// or no number.
    pub fn propose(
        &mut self,
        params: &Sampling,
        logits: &[f32],
        history: &[Token],
        position: u32,
        k: usize,
        out: &mut Vec<(Token, Prob)>,
    ) {
        out.clear();
        let mut adjusted = std::mem::take(&mut self.logits);
        let values = self.adjust(params, logits, None, history, &mut adjusted);
        if params.is_greedy() {
            best_k(values, k, &mut self.best);
            let max = self.best.first().map_or(0.0, |e| e.0.min(f32::MAX));
            let total = sum_exp(values, max);
            let share = |logit: f32| Prob::clamped((logit - max).min(0.0).exp() / total);
            out.extend(
                self.best
                    .iter()
                    .map(|&(logit, token)| (token, share(logit))),
            );
        } else if self.near.take(params, values, 0.0) {
            let near = &self.near;
            let score = |&(logit, token): &(f32, Token)| {
                let noise = f64::from(gumbel(params.seed, position, token));
                (near.score(logit) + noise, token)
            };
            self.scores.clear();
            self.scores.extend(near.kept().iter().map(score));
            self.scores
                .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            let max = self.scores.first().map_or(0.0, |s| s.0);
            let total: f64 = self.scores.iter().map(|s| (s.0 - max).exp()).sum();
            let share = |score: f64| Prob::clamped(((score - max).exp() / total) as f32);
            let best = self.scores.iter().take(k);
            out.extend(best.map(|&(score, token)| (token, share(score))));
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
        for (token, bias) in params.logit_bias.iter() {
            if let Some(logit) = buffer.get_mut(token as usize) {
                match bias {
                    Bias::Ban => *logit = f32::NEG_INFINITY,
                    Bias::Add(shift) => *logit += shift.get(),
                }
            }
        }
        buffer
    }
}

/// How much further than a logit its adjusted value may move: a repeat penalty multiplies.
fn stretch(params: &Sampling, history: &[Token]) -> f64 {
    let repeat = f64::from(params.repeat_penalty);
    match params.penalty_window == 0 || history.is_empty() {
        true => 1.0,
        false => repeat.max(1.0 / repeat),
    }
}

/// What is written where nothing may be: the first token of the mask.
fn first_allowed(allowed: Option<&[u32]>) -> Token {
    let first = |mask: &[u32]| {
        let (i, word) = mask.iter().enumerate().find(|w| *w.1 != 0)?;
        Token::try_from(i * 32)
            .ok()
            .map(|t| t + word.trailing_zeros())
    };
    allowed.and_then(first).unwrap_or(0)
}

/// Larger score first; among equals the smaller token, so that ties are decided too.
fn descending(a: &(f32, Token), b: &(f32, Token)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

/// The best token, and by how much it is better than the second; `None` if there is none.
fn two_best(logits: &[f32]) -> Option<(Token, f64)> {
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
    // Of two that are infinite the difference would be no number.
    let margin = match best.0 == second {
        true => 0.0,
        false => f64::from(best.0) - f64::from(second),
    };
    (best.0 > f32::NEG_INFINITY).then_some((best.1 as Token, margin))
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

/// The `k` (at least one) largest logits with their tokens, best first; those that are −∞ or
/// no number are not among them.
fn best_k(logits: &[f32], k: usize, out: &mut Vec<(f32, Token)>) {
    out.clear();
    let k = k.max(1);
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        if out.len() == k && maximum(chunk) <= out[k - 1].0 {
            continue;
        }
        for (j, &logit) in chunk.iter().enumerate() {
            let least = match out.len() == k {
                true => out[k - 1].0,
                false => f32::NEG_INFINITY,
            };
            // Not so for what is no number.
            let counts = logit > least;
            if !counts {
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
        // What is far below the maximum adds nothing, nor does what is no number. Only +∞ is
        // above the maximum, and counts as the largest number.
        let counts = x.simd_gt(f32x16::splat(-FLOOR));
        counts.select(x.fast_min(f32x16::ZERO).exp(), f32x16::ZERO)
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
    use proptest::prelude::*;

    fn checked(params: SamplingParams) -> Sampling {
        params.checked().unwrap()
    }

    fn at(temperature: f32) -> Sampling {
        checked(SamplingParams {
            temperature,
            seed: 7,
            ..Default::default()
        })
    }

    fn softmax(logits: &[f32]) -> Vec<f64> {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f64> = logits.iter().map(|l| f64::from(l - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|x| x / sum).collect()
    }

    #[test]
    fn gumbel_max_samples_the_distribution() {
        let logits = [1.0, 0.0, -1.0, 2.0, 0.5];
        let params = at(1.0);
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
        let params = Sampling::default();
        let c = s.choose(&params, &[1.0, 3.0, 2.5, 3.0], None, &[], 0);
        assert_eq!((c.token, c.margin), (1, 0.0));
        let c = s.choose(&params, &[1.0, 2.0, 1.5], None, &[], 0);
        assert_eq!((c.token, c.margin), (1, 0.5));
    }

    #[test]
    fn filters_leave_what_they_should() {
        let logits = [0.0, 3.0, 2.0, 1.0];
        let kept = |f: fn(&mut SamplingParams)| {
            let mut params = SamplingParams {
                temperature: 1.0,
                ..Default::default()
            };
            f(&mut params);
            let mut near = Near::default();
            // Looking further does not change what passes.
            let tokens = |near: &Near| {
                let mut tokens: Vec<Token> = near.kept().iter().map(|e| e.1).collect();
                tokens.sort_unstable();
                tokens
            };
            assert!(near.take(&params, &logits, near::FAR));
            let far = tokens(&near);
            assert!(near.take(&params, &logits, 0.0));
            assert_eq!(tokens(&near), far);
            far
        };
        assert_eq!(kept(|p| p.top_k = 2), [1, 2]);
        assert_eq!(kept(|p| p.top_p = 0.5), [1]);
        assert_eq!(kept(|p| p.top_p = 0.7), [1, 2]);
        assert_eq!(kept(|p| p.min_p = 0.2), [1, 2]);
        assert_eq!(kept(|p| p.min_p = 1.0), [1]);
        assert_eq!(kept(|_| ()), [0, 1, 2, 3]);
    }

    #[test]
    fn penalties_count_the_window_only() {
        let params = checked(SamplingParams {
            frequency_penalty: 0.6,
            penalty_window: 2,
            ..Default::default()
        });
        let mut s = Sampler::default();
        let logits = [2.0, 1.0];
        assert_eq!(s.choose(&params, &logits, None, &[0, 0], 2).token, 1);
        assert_eq!(s.choose(&params, &logits, None, &[0, 0, 1, 1], 4).token, 0);
    }

    #[test]
    fn proposals_are_the_target_choice_when_the_models_agree() {
        let logits: Vec<f32> = (0..50).map(|i| ((i * 37) % 50) as f32 / 10.0).collect();
        let params = checked(SamplingParams {
            temperature: 0.8,
            top_p: 0.95,
            seed: 3,
            ..Default::default()
        });
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
        let mask = [0b101];
        let greedy = Sampling::default();
        assert_eq!(s.choose(&greedy, &logits, Some(&mask), &[], 0).token, 2);
        let sampled = at(1.0);
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
    fn where_nothing_may_be_written_the_first_token_of_the_mask_is() {
        let mut s = Sampler::default();
        let all = LogitBias::new((0..40).map(|t| (t, Bias::Ban))).unwrap();
        let banned = |temperature| {
            checked(SamplingParams {
                temperature,
                logit_bias: all.clone(),
                ..Default::default()
            })
        };
        let mut out = Vec::new();
        for params in [banned(0.0), banned(1.0)] {
            let logits = [0.5; 40];
            let choice = s.choose(&params, &logits, None, &[], 0);
            assert_eq!((choice.token, choice.margin), (0, f32::INFINITY));
            // Bit 1 of the second word.
            let choice = s.choose(&params, &logits, Some(&[0, 0b110]), &[], 0);
            assert_eq!(choice.token, 33);
            s.propose(&params, &logits, &[], 0, 4, &mut out);
            assert!(out.is_empty());
        }
        for params in [at(0.0), at(1.0)] {
            for none in [f32::NAN, f32::NEG_INFINITY] {
                let choice = s.choose(&params, &[none; 40], None, &[], 0);
                assert_eq!(choice.token, 0);
                assert_eq!(s.choose(&params, &[], None, &[], 0).token, 0);
            }
        }
    }

    #[test]
    fn a_logit_that_is_no_number_is_as_good_as_banned() {
        let mut s = Sampler::default();
        let logits = [f32::NAN, 1.0, f32::NAN, 2.0, f32::NEG_INFINITY];
        let mut out = Vec::new();
        for position in 0..100 {
            for params in [at(0.0), at(0.7), at(100.0)] {
                let choice = s.choose(&params, &logits, None, &[], position);
                assert!([1, 3].contains(&choice.token), "{choice:?}");
                s.propose(&params, &logits, &[], position, 9, &mut out);
                assert_eq!(out.len(), 2);
            }
        }
        let of = Logprob::of(&logits, 0, 5);
        assert_eq!(of.logprob, Logprob::LEAST);
        assert_eq!(of.top.iter().map(|t| t.0).collect::<Vec<_>>(), [3, 1]);
        // And one that is infinite is as large as can be.
        let logits = [f32::INFINITY, 1.0, f32::INFINITY];
        assert_eq!(s.choose(&at(0.0), &logits, None, &[], 0).margin, 0.0);
        for position in 0..20 {
            let choice = s.choose(&at(1.0), &logits, None, &[], position);
            assert_ne!(choice.token, 1);
        }
    }

    #[test]
    fn a_decision_at_the_cut_of_a_filter_has_no_margin() {
        let mut s = Sampler::default();
        let mut margin = |logits: &[f32], f: fn(&mut SamplingParams)| {
            let mut params = SamplingParams {
                temperature: 0.7,
                ..Default::default()
            };
            f(&mut params);
            let choice = s.choose(&checked(params), logits, None, &[], 5);
            choice.margin
        };
        // Two tied logits, of which one is kept.
        assert_eq!(margin(&[2.0, 2.0, 0.0], |p| p.top_k = 1), 0.0);
        assert!(margin(&[2.0, 2.0, 0.0], |p| p.min_p = 1.0) < 1e-6);
        // The first has just the share that is kept.
        let half = |p: &mut SamplingParams| p.top_p = 0.5;
        assert!(margin(&[2.0, 2.0], half) < 1e-6);
        // Nothing is near.
        let clear = [9.0, 1.0, 0.0];
        let others: [fn(&mut SamplingParams); 3] =
            [|p| p.top_k = 1, |p| p.min_p = 0.9, |p| p.top_p = 0.5];
        for other in others {
            assert!(margin(&clear, other) > 4.0);
        }
    }

    /// Logits as they come, close together, and at the ends of what there is.
    fn logits() -> impl Strategy<Value = Vec<f32>> {
        let odd = prop_oneof![
            Just(f32::NEG_INFINITY),
            Just(f32::INFINITY),
            Just(f32::NAN),
            Just(f32::MAX),
            Just(f32::MIN),
            Just(0.0),
            Just(1e-40),
        ];
        let logit = prop_oneof![8 => -30f32..30.0, 2 => -1e38f32..1e38, 1 => odd];
        prop::collection::vec(logit, 1..40)
    }

    fn temperatures() -> impl Strategy<Value = f32> {
        prop_oneof![
            Just(0.0f32),
            Just(f32::MIN_POSITIVE),
            Just(1e-45),
            Just(1e-38),
            Just(100.0),
            (-38f32..2.0).prop_map(|e| 10f32.powf(e)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_setting_and_no_logits_give_what_is_no_number(
            logits in logits(),
            temperature in temperatures(),
            (top_k, top_p, min_p) in (0u32..9, 1e-6f32..=1.0, 0f32..=1.0),
            (repeat, frequency) in (1e-38f32..100.0, -100f32..=100.0),
            bans in prop::collection::vec((0u32..40, any::<bool>()), 0..40),
            seed in any::<u64>(),
        ) {
            let bias = |(token, ban): (Token, bool)| match ban {
                true => (token, Bias::Ban),
                false => (token, Bias::add(-1e4).unwrap()),
            };
            let params = checked(SamplingParams {
                temperature,
                top_k,
                top_p,
                min_p,
                repeat_penalty: repeat,
                frequency_penalty: frequency,
                logit_bias: LogitBias::new(bans.into_iter().map(bias)).unwrap(),
                seed,
                ..Default::default()
            });
            let mut s = Sampler::default();
            let history = [0, 1, 2, 2, 99];
            let choice = s.choose(&params, &logits, None, &history, 5);
            prop_assert!((choice.token as usize) < logits.len());
            prop_assert!(choice.margin >= 0.0, "{}", choice.margin);
            let mut out = Vec::new();
            s.propose(&params, &logits, &history, 5, 6, &mut out);
            let sum: f32 = out.iter().map(|p| p.1.get()).sum();
            prop_assert!(out.is_empty() || sum > 0.0);
            prop_assert!(sum < 1.001, "{sum}");
            prop_assert!(out.is_sorted_by(|a, b| a.1 >= b.1));
            // A token that is banned is neither chosen nor proposed, if there is another.
            prop_assert!(out.iter().all(|p| logits[p.0 as usize] > f32::NEG_INFINITY));
            if let Some(best) = out.first() {
                prop_assert_eq!(best.0, choice.token);
            }
            let logprob = Logprob::of(&logits, choice.token, 3);
            let all = logprob.top.iter().map(|t| t.1).chain([logprob.logprob]);
            prop_assert!(all.into_iter().all(|l| l.is_finite() && l <= 0.0));
        }

        #[test]
        fn within_half_the_margin_the_same_token_is_chosen(
            // Steps of a tenth, and a little more or less: close to ties and to every cut.
            steps in prop::collection::vec((-20i32..20, -3i32..=3), 2..12),
            temperature in prop_oneof![Just(0.0f32), 0.01f32..0.2, 0.2f32..3.0],
            top_k in prop_oneof![Just(0u32), 1u32..6],
            top_p in prop_oneof![Just(1.0f32), 0.05f32..1.0],
            min_p in prop_oneof![Just(0.0f32), 0.01f32..=1.0],
            repeat in prop_oneof![Just(1.0f32), 0.5f32..2.0],
            seed in any::<u64>(),
            moves in prop::collection::vec(prop::collection::vec(any::<u8>(), 12), 24),
        ) {
            let params = checked(SamplingParams {
                temperature,
                top_k,
                top_p,
                min_p,
                repeat_penalty: repeat,
                seed,
                ..Default::default()
            });
            let logit = |&(tenths, little): &(i32, i32)| 0.1 * tenths as f32 + 0.003 * little as f32;
            let logits: Vec<f32> = steps.iter().map(logit).collect();
            let history = [0, 1, 1];
            let mut s = Sampler::default();
            let choice = s.choose(&params, &logits, None, &history, 3);
            // Greedily without a second token there is no end to it.
            let margin = choice.margin.min(8.0);
            // Below this the rounding of the moved logits counts.
            if margin < 2e-3 {
                return Ok(());
            }
            for (i, signs) in moves.iter().enumerate() {
                // All the way up or down, which is the worst, and somewhere in between.
                let part = |sign: u8| match i % 2 {
                    0 => if sign.is_multiple_of(2) { 1.0 } else { -1.0 },
                    _ => f32::from(sign) / 127.5 - 1.0,
                };
                let moved: Vec<f32> = logits
                    .iter()
                    .zip(signs)
                    .map(|(l, &sign)| l + 0.499 * margin * part(sign))
                    .collect();
                let again = s.choose(&params, &moved, None, &history, 3);
                prop_assert_eq!(
                    choice.token, again.token,
                    "margin {} of {:?}, moved to {:?}", margin, logits, moved
                );
            }
            // The chosen one down and all others up, and one other alone up.
            for up in 0..=logits.len() {
                let part = |t: usize| match (t == choice.token as usize, up) {
                    (true, _) => -1.0,
                    (false, 0) => 1.0,
                    (false, up) => if t + 1 == up { 1.0 } else { -1.0 },
                };
                let moved: Vec<f32> = logits
                    .iter()
                    .enumerate()
                    .map(|(t, l)| l + 0.499 * margin * part(t))
                    .collect();
                let again = s.choose(&params, &moved, None, &history, 3);
                prop_assert_eq!(choice.token, again.token, "{} up of {:?}", up, logits);
            }
        }

        #[test]
        fn looking_less_far_changes_no_choice_and_no_smaller_margin(
            steps in prop::collection::vec(-20i32..20, 2..12),
            temperature in 0.01f32..3.0,
            top_k in prop_oneof![Just(0u32), 1u32..6],
            top_p in prop_oneof![Just(1.0f32), 0.05f32..1.0],
            min_p in prop_oneof![Just(0.0f32), 0.01f32..=1.0],
            look in 0.01f32..2.0,
            seed in any::<u64>(),
        ) {
            let params = checked(SamplingParams {
                temperature, top_k, top_p, min_p, seed, ..Default::default()
            });
            let logits: Vec<f32> = steps.iter().map(|s| 0.1 * *s as f32).collect();
            let far = Sampler::default().choose(&params, &logits, None, &[], 3);
            let near = Sampler::looking_up_to(look).choose(&params, &logits, None, &[], 3);
            prop_assert_eq!(far.token, near.token);
            let expected = far.margin.min(look);
            prop_assert!((near.margin - expected).abs() < 1e-3, "{} {}", near.margin, expected);
        }
    }
}
