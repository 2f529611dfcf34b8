//! Choosing the next token, and proposing what it may be.

use super::adjust::{Adjuster, stretch};
use super::best::{best_k, two_best};
use super::filter::{FAR, FilteredTokens};
use super::noise::gumbel;
use super::settings::Sampling;
use super::softmax::sum_exp;
use crate::types::{Prob, Token};

/// The token that the sampler decided on, and how close the decision was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: Token,
    /// The same token is chosen as long as no logit moves by half of this or more. With noise
    /// or filters it may be smaller than it could be, never larger. Beyond what the sampler
    /// [looks for](Sampler::looking_up_to) it is that bound.
    pub margin: f32,
}

/// Chooses tokens. It holds nothing but working memory: keep one per thread to allocate nothing
/// per token.
///
/// ```
/// use card_core::sampler::{Sampler, Sampling, SamplingParams};
///
/// let logits = [1.0, 2.0, 1.5];
/// let mut sampler = Sampler::default();
/// // Greedy: the largest logit, half a logit above the second one.
/// let greedy = Sampling::default();
/// let choice = sampler.choose(&greedy, &logits, None, &[], 0);
/// assert_eq!((choice.token, choice.margin), (1, 0.5));
///
/// // At a temperature the choice depends on seed and position, and on nothing else. A drafter
/// // with the same logits proposes what the target chooses.
/// let params = SamplingParams {
///     temperature: 1.0,
///     seed: 7,
///     ..SamplingParams::default()
/// };
/// let sampling = params.checked().expect("the settings are possible");
/// let choice = sampler.choose(&sampling, &logits, None, &[], 3);
/// assert_eq!(sampler.choose(&sampling, &logits, None, &[], 3), choice);
/// let mut proposals = Vec::new();
/// sampler.propose(&sampling, &logits, &[], 3, 2, &mut proposals);
/// assert_eq!(proposals[0].0, choice.token);
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    adjuster: Adjuster,
    best: Vec<(f32, Token)>,
    filtered: FilteredTokens,
    scores: Vec<(f64, Token)>,
    /// Margins are looked for up to here, in logits.
    look: f64,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler::looking_up_to(f32::INFINITY)
    }
}

impl Sampler {
    /// A sampler for a caller who does not care how much larger than `margin` a margin is. With
    /// filters, finding large margins takes a look at many tokens that cannot be chosen. No
    /// margin is looked for beyond a bound of the sampler's own, 8 logits.
    pub fn looking_up_to(margin: f32) -> Self {
        let look = if margin > 0.0 { f64::from(margin) } else { 0.0 };
        Sampler {
            adjuster: Adjuster::default(),
            best: Vec::new(),
            filtered: FilteredTokens::default(),
            scores: Vec::new(),
            look: look.min(FAR),
        }
    }

    /// Decides the token at index `position` of a sequence whose tokens so far are `history`,
    /// from the model's `logits` (length: vocabulary) after them. `allowed` is the mask of a
    /// [constraint](crate::constraint::Constraint), if there is one.
    pub fn choose(
        &mut self,
        params: &Sampling,
        logits: &[f32],
        allowed: Option<&[u32]>,
        history: &[Token],
        position: u32,
    ) -> Choice {
        let values = self.adjuster.adjust(params, logits, allowed, history);
        let stretch = stretch(params, history);
        let choice = if params.is_greedy() {
            two_best(values)
        } else {
            let look = self.look * stretch;
            sample(&mut self.filtered, params, values, position, look)
        };
        let (token, margin) = choice.unwrap_or((first_allowed(allowed), f64::INFINITY));
        Choice {
            token,
            margin: (margin / stretch) as f32,
        }
    }

    /// What a drafter proposes after `history`: up to `k` tokens with the probability it gives
    /// each of being the target's choice, the best first. At a temperature the shared noise is
    /// added before the probabilities are taken. Nothing is proposed if every token is banned or
    /// no number.
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
        let values = self.adjuster.adjust(params, logits, None, history);
        if params.is_greedy() {
            best_k(values, k, &mut self.best);
            let max = self.best.first().map_or(0.0, |e| e.0.min(f32::MAX));
            let total = sum_exp(values, max);
            let share = |logit: f32| Prob::clamped((logit - max).min(0.0).exp() / total);
            let best = self.best.iter();
            out.extend(best.map(|&(logit, token)| (token, share(logit))));
        } else if self.filtered.take(params, values, 0.0) {
            let filtered = &self.filtered;
            let score = |&(logit, token): &(f32, Token)| {
                let noise = f64::from(gumbel(params.seed, position, token));
                (filtered.score(logit) + noise, token)
            };
            self.scores.clear();
            self.scores.extend(filtered.kept().iter().map(score));
            // All are sorted, not only the best: the bits of the sum below depend on the order.
            self.scores
                .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            let max = self.scores.first().map_or(0.0, |s| s.0);
            let total: f64 = self.scores.iter().map(|s| (s.0 - max).exp()).sum();
            let share = |score: f64| Prob::clamped(((score - max).exp() / total) as f32);
            let best = self.scores.iter().take(k);
            out.extend(best.map(|&(score, token)| (token, share(score))));
        }
    }
}

/// Gumbel-max: the token that passes the filters with the highest score (logit / temperature +
/// noise), and its margin in the logits given; `None` if there is no token.
fn sample(
    filtered: &mut FilteredTokens,
    params: &Sampling,
    logits: &[f32],
    position: u32,
    look: f64,
) -> Option<(Token, f64)> {
    if !filtered.take(params, logits, look) {
        return None;
    }
    let noise = |token| f64::from(gumbel(params.seed, position, token));
    let mut best = (f64::NEG_INFINITY, Token::MAX, 0);
    let mut second = f64::NEG_INFINITY;
    for (i, &(logit, token)) in filtered.kept().iter().enumerate() {
        let score = filtered.score(logit) + noise(token);
        // Of equal scores the smaller token's wins, in whatever order they come.
        if score > best.0 || score == best.0 && token < best.1 {
            second = best.0;
            best = (score, token, i);
        } else if score > second {
            second = score;
        }
    }
    let (score, token, winner) = best;
    Some((token, filtered.margin(winner, score, second, noise)))
}

/// What is written where nothing may be: the first token that the mask allows.
fn first_allowed(allowed: Option<&[u32]>) -> Token {
    let first = |mask: &[u32]| {
        let (i, word) = mask.iter().enumerate().find(|w| *w.1 != 0)?;
        Token::try_from(i * 32)
            .ok()
            .map(|t| t + word.trailing_zeros())
    };
    allowed.and_then(first).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::bias::{Bias, LogitBias};
    use super::super::logprob::Logprob;
    use super::super::settings::SamplingParams;
    use super::*;

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
    fn frequency_and_presence_count_what_was_generated_and_repetition_the_prompt_too() {
        let logits = [2.0, 1.0];
        let mut s = Sampler::default();
        let mut chosen = |change: fn(&mut SamplingParams), from, history: &[Token]| {
            let mut params = SamplingParams {
                generated_from: from,
                ..Default::default()
            };
            change(&mut params);
            let position = history.len() as u32;
            let params = checked(params);
            let choice = s.choose(&params, &logits, None, history, position);
            let mut proposed = Vec::new();
            s.propose(&params, &logits, history, position, 1, &mut proposed);
            assert_eq!(proposed[0].0, choice.token);
            choice.token
        };
        let counted: [fn(&mut SamplingParams); 2] =
            [|p| p.frequency_penalty = 0.6, |p| p.presence_penalty = 1.2];
        for change in counted {
            // Of these tokens the first two are the prompt, and then one, and then none.
            assert_eq!(chosen(change, 2, &[0, 0]), 0);
            assert_eq!(chosen(change, 1, &[1, 0, 0]), 1);
            assert_eq!(chosen(change, 0, &[0, 0]), 1);
            // A prompt that is longer than the text is all there is.
            assert_eq!(chosen(change, 9, &[0, 0]), 0);
        }
        assert_eq!(chosen(|p| p.repeat_penalty = 3.0, 2, &[0, 0]), 1);
        // Both at once: repetition counts the prompt, which the other one leaves out.
        let both = |p: &mut SamplingParams| {
            p.repeat_penalty = 1.5;
            p.frequency_penalty = 0.6;
        };
        assert_eq!(chosen(both, 2, &[0, 0]), 0);
        assert_eq!(chosen(both, 1, &[0, 0]), 1);
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
}
