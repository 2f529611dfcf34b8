//! Which tokens pass the filters: the floor, min-p, top-k and top-p.

use super::best::{descending, maximum};
use super::settings::SamplingParams;
use crate::types::Token;

/// Tokens less than e^-20 as probable as the best one are never sampled. That is their definition
/// here, the same in every mode. It leaves out less than 3e-4 of the mass in the flattest case
/// of a vocabulary of 150,000, and spares drawing noise for all of it.
pub(super) const FLOOR: f32 = 20.0;
/// Margins are looked for up to here, in logits: what is larger is as good as infinite.
pub(super) const FAR: f64 = 8.0;

/// The tokens that pass, and those outside that might pass if logits moved a little.
///
/// `kept` is at least 1 after [`FilteredTokens::take`] found any token. With top-p the tokens that
/// pass and those outside are each sorted by falling logits.
#[derive(Clone, Debug, Default)]
pub(super) struct FilteredTokens {
    /// Logit and token: first the tokens that pass all filters, then those that are outside. In
    /// the order of logits if there is top-p.
    pub(super) tokens: Vec<(f32, Token)>,
    /// How many tokens pass.
    pub(super) kept: usize,
    /// With top-p: the weight of the i-th token and all after it, and a 0 at the end. The weight
    /// of a token is e^((logit − max) / temperature).
    pub(super) tail_mass: Vec<f64>,
    pub(super) temperature: f64,
    pub(super) top_p: f64,
    /// The largest logit.
    pub(super) max: f64,
    /// The largest logit of another token than the one with `max`.
    pub(super) second: f64,
    /// The smallest logit that min-p and the floor keep.
    pub(super) floor: f64,
    /// The smallest logit that top-k keeps; −∞ if it keeps all.
    last_in: f64,
    /// The largest logit that top-k does not keep; −∞ if it keeps all.
    pub(super) first_out: f64,
    /// Margins are looked for up to here, in logits.
    pub(super) look: f64,
    /// Working memory: tokens that do not pass.
    outside: Vec<(f32, Token)>,
}

impl FilteredTokens {
    /// Filters `logits`. Tokens outside are noted as far as a margin up to `look` depends on
    /// them. Returns `false` if there is no token at all.
    pub(super) fn take(&mut self, params: &SamplingParams, logits: &[f32], look: f64) -> bool {
        self.tokens.clear();
        self.outside.clear();
        self.tail_mass.clear();
        self.kept = 0;
        let max = maximum(logits).min(f32::MAX);
        if max == f32::NEG_INFINITY {
            return false;
        }
        let reach = if params.min_p > 0.0 {
            FLOOR.min(-params.min_p.ln())
        } else {
            FLOOR
        };
        let floor = max - reach * params.temperature;
        self.look = look.clamp(0.0, FAR);
        self.temperature = f64::from(params.temperature);
        self.top_p = f64::from(params.top_p);
        self.max = f64::from(max);
        self.floor = f64::from(floor);
        self.collect(logits, floor, floor - self.look as f32);
        self.cut_to(params.top_k as usize);
        // A token that cannot come in within the margin looked for is of no interest.
        let least = self.cut() - self.look;
        self.outside.retain(|t| f64::from(t.0) >= least);
        let passed = self.tokens.len();
        self.kept = passed;
        if self.has_top_p() {
            self.tokens.sort_unstable_by(descending);
            self.outside.sort_unstable_by(descending);
        }
        self.tokens.append(&mut self.outside);
        if self.has_top_p() {
            self.weigh(passed);
        }
        true
    }

    /// Logit and token of those that pass; at least one.
    pub(super) fn kept(&self) -> &[(f32, Token)] {
        &self.tokens[..self.kept]
    }

    /// The score of a token without noise: (logit − max) / temperature, never above 0.
    pub(super) fn score(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max) / self.temperature
    }

    /// Sorts the tokens by the side of the floor they are on. A logit that is no number, or −∞, is
    /// on neither side; +∞ counts as the largest number.
    fn collect(&mut self, logits: &[f32], floor: f32, least: f32) {
        let mut best = [f32::NEG_INFINITY; 2];
        for (token, &logit) in logits.iter().enumerate() {
            if logit >= least && logit > f32::NEG_INFINITY {
                let logit = logit.min(f32::MAX);
                if logit > best[0] {
                    best = [logit, best[0]];
                } else if logit > best[1] {
                    best[1] = logit;
                }
                let side = if logit >= floor {
                    &mut self.tokens
                } else {
                    &mut self.outside
                };
                side.push((logit, token as Token));
            }
        }
        self.second = f64::from(best[1]);
    }

    /// Applies top-k; 0 is no limit.
    fn cut_to(&mut self, k: usize) {
        self.last_in = f64::NEG_INFINITY;
        self.first_out = f64::NEG_INFINITY;
        if k == 0 {
            return;
        }
        let passed = self.tokens.len();
        if k < passed {
            self.tokens.select_nth_unstable_by(k, descending);
            self.first_out = f64::from(self.tokens[k].0);
            self.outside.extend(self.tokens.drain(k..));
        } else if k - passed < self.outside.len() {
            // The tokens at the cut are all below the floor.
            let nth = k - passed;
            self.outside.select_nth_unstable_by(nth, descending);
            self.first_out = f64::from(self.outside[nth].0);
        }
        if self.tokens.len() == k {
            let last = self.tokens.iter().map(|t| t.0);
            self.last_in = f64::from(last.fold(f32::INFINITY, f32::min));
        }
    }

    /// Applies top-p to the first `passed` tokens.
    fn weigh(&mut self, passed: usize) {
        let mut sum = 0.0;
        // From the smallest weight on, so that small ones are not lost in the sum.
        self.tail_mass.push(0.0);
        for &(logit, _) in self.tokens.iter().rev() {
            sum += self.score(logit).exp();
            self.tail_mass.push(sum);
        }
        self.tail_mass.reverse();
        let whole = self.mass(0, passed);
        let above = |rest: &f64| self.tail_mass[0] - rest;
        let kept = self.tail_mass[..passed].partition_point(|r| above(r) < self.top_p * whole);
        self.kept = kept.max(1);
    }

    /// Whether top-p filters at all.
    pub(super) fn has_top_p(&self) -> bool {
        self.top_p < 1.0
    }

    /// The logit below which the floor or top-k keeps a token out.
    pub(super) fn cut(&self) -> f64 {
        self.floor.max(self.last_in)
    }

    /// The logit of the `i`-th token.
    pub(super) fn logit(&self, i: usize) -> f64 {
        f64::from(self.tokens[i].0)
    }

    /// Weight of the tokens from the `from`-th up to the `to`-th, that one excluded.
    pub(super) fn mass(&self, from: usize, to: usize) -> f64 {
        (self.tail_mass[from] - self.tail_mass[to]).max(0.0)
    }

    /// How many of the sorted tokens have a logit of `least` or more.
    pub(super) fn down_to(&self, least: f64) -> usize {
        self.tokens.partition_point(|t| f64::from(t.0) >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_leave_what_they_should() {
        let logits = [0.0, 3.0, 2.0, 1.0];
        let kept = |f: fn(&mut SamplingParams)| {
            let mut params = SamplingParams {
                temperature: 1.0,
                ..Default::default()
            };
            f(&mut params);
            let mut filtered = FilteredTokens::default();
            // Looking further does not change what passes.
            let tokens = |filtered: &FilteredTokens| {
                let mut tokens: Vec<Token> = filtered.kept().iter().map(|e| e.1).collect();
                tokens.sort_unstable();
                tokens
            };
            assert!(filtered.take(&params, &logits, FAR));
            let far = tokens(&filtered);
            assert!(filtered.take(&params, &logits, 0.0));
            assert_eq!(tokens(&filtered), far);
            far
        };
        assert_eq!(kept(|p| p.top_k = 2), [1, 2]);
        assert_eq!(kept(|p| p.top_p = 0.5), [1]);
        assert_eq!(kept(|p| p.top_p = 0.7), [1, 2]);
        assert_eq!(kept(|p| p.min_p = 0.2), [1, 2]);
        assert_eq!(kept(|p| p.min_p = 1.0), [1]);
        assert_eq!(kept(|_| ()), [0, 1, 2, 3]);
    }
}
