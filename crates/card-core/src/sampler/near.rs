//! The tokens that pass the filters, and by how much the choice among them could be missed.
//!
//! A forward of another shape gives slightly other logits. The *margin* of a choice says how
//! far off they may be: as long as every logit moves by less than half of it, up or down, the
//! same token is chosen. So two logits may come closer by less than the margin.
//!
//! Greedily that is the distance of the two best logits. With filters and noise the winner,
//! the kept token of the highest score (logit / temperature + noise), is another one only if
//!
//! 1. another token that is kept gets a higher score. Scores are distances in logits once
//!    multiplied by the temperature, so the margin is at most the winner's score less the
//!    second's, times the temperature; or
//! 2. the winner is no longer kept; or
//! 3. a token that is not kept comes to be, and its score is higher then. That takes the
//!    larger of two moves: into what is kept, and past the winner's score. Noise is a fixed
//!    number per token, so a token left out may well have a higher score than the winner's.
//!
//! How far a token is from being kept or not, filter by filter:
//!
//! - *min-p and the floor* keep what is at most `reach` × temperature below the best logit.
//!   Both the token and the best one move, so the distance to the cut is what counts. The
//!   winner is measured against the best *other* token: nothing falls below itself.
//! - *top-k* keeps the k largest. A token is in as long as fewer than k others are above it, so
//!   the one in k-th place, or the one after it, is what it is measured against.
//! - *top-p* keeps a token while those above it have less than a share p of the mass of all
//!   that passed the two filters before. If logits move by x / 2 each, the odds of two masses
//!   change by no more than e^(x / temperature), and tokens within x of each other may change
//!   places. Both are taken at their worst, and so is who else passed the filters before;
//!   bisection finds the x at which the token could change sides.
//!
//! Each of these is taken at its worst by itself, so a margin may be too small, which costs
//! another forward where near-ties are decided again, but not too large. A penalty that scales
//! logits also scales how far they move ([`Sampler`](super::Sampler) divides by that).

use super::{FLOOR, SamplingParams};
use crate::types::Token;

/// Margins are looked for up to here (in logits): what is larger is as good as infinite.
pub(super) const FAR: f64 = 8.0;
/// Temperatures that logits move by, beyond which e^(moves) is not worked out: whoever comes
/// near enough then changes sides.
const STEEP: f64 = 20.0;
/// Steps of a bisection.
const HALVINGS: usize = 40;

/// The tokens that pass, and those outside that might. See the [module](self) documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Near {
    /// Logit and token: first those that pass all filters, then those that are outside. In
    /// the order of logits if there is top-p.
    tokens: Vec<(f32, Token)>,
    /// How many pass.
    kept: usize,
    /// With top-p: the weight of the i-th token and all after it. Weights are
    /// e^((logit − max) / temperature).
    rest: Vec<f64>,
    temperature: f64,
    top_p: f64,
    max: f64,
    /// The best logit of another token than the one with `max`.
    second: f64,
    /// What min-p and the floor keep begins here.
    floor: f64,
    /// The smallest logit that top-k keeps, and the largest that it does not.
    last_in: f64,
    first_out: f64,
    /// Margins are looked for up to here.
    look: f64,
    outside: Vec<(f32, Token)>,
}

impl Near {
    /// Looks at `logits`. Those outside are noted as far as a margin up to `look` depends on
    /// them. `false` if there is no token at all.
    pub(super) fn take(&mut self, params: &SamplingParams, logits: &[f32], look: f64) -> bool {
        self.tokens.clear();
        self.outside.clear();
        self.rest.clear();
        self.kept = 0;
        let max = super::maximum(logits).min(f32::MAX);
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
        // What cannot come in within the margin looked for is of no interest.
        let least = self.cut() - self.look;
        self.outside.retain(|t| f64::from(t.0) >= least);
        let passed = self.tokens.len();
        self.kept = passed;
        if self.has_top_p() {
            self.tokens.sort_unstable_by(super::descending);
            self.outside.sort_unstable_by(super::descending);
        }
        self.tokens.append(&mut self.outside);
        if self.has_top_p() {
            self.weigh(passed);
        }
        true
    }

    /// The tokens that pass; at least one.
    pub(super) fn kept(&self) -> &[(f32, Token)] {
        &self.tokens[..self.kept]
    }

    /// The score of a token without noise: (logit − max) / temperature, never above 0.
    pub(super) fn score(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.max) / self.temperature
    }

    /// Sorts out what is on which side of the floor. A logit that is no number, and −∞, is on
    /// neither; +∞ counts as the largest number.
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
                let side = match logit >= floor {
                    true => &mut self.tokens,
                    false => &mut self.outside,
                };
                side.push((logit, token as Token));
            }
        }
        self.second = f64::from(best[1]);
    }

    /// Top-k; 0 is no limit.
    fn cut_to(&mut self, k: usize) {
        self.last_in = f64::NEG_INFINITY;
        self.first_out = f64::NEG_INFINITY;
        if k == 0 {
            return;
        }
        let passed = self.tokens.len();
        if k < passed {
            self.tokens.select_nth_unstable_by(k, super::descending);
            self.first_out = f64::from(self.tokens[k].0);
            self.outside.extend(self.tokens.drain(k..));
        } else if k - passed < self.outside.len() {
            // Those at the cut are all below the floor.
            let nth = k - passed;
            self.outside.select_nth_unstable_by(nth, super::descending);
            self.first_out = f64::from(self.outside[nth].0);
        }
        if self.tokens.len() == k {
            let last = self.tokens.iter().map(|t| t.0);
            self.last_in = f64::from(last.fold(f32::INFINITY, f32::min));
        }
    }

    /// Top-p, of the first `passed` tokens.
    fn weigh(&mut self, passed: usize) {
        let mut sum = 0.0;
        // From the smallest on, so that small ones are not lost.
        self.rest.push(0.0);
        for &(logit, _) in self.tokens.iter().rev() {
            sum += self.score(logit).exp();
            self.rest.push(sum);
        }
        self.rest.reverse();
        let whole = self.mass(0, passed);
        let above = |rest: &f64| self.rest[0] - rest;
        let kept = self.rest[..passed].partition_point(|r| above(r) < self.top_p * whole);
        self.kept = kept.max(1);
    }

    fn has_top_p(&self) -> bool {
        self.top_p < 1.0
    }

    /// Below this the floor or top-k keeps a token out.
    fn cut(&self) -> f64 {
        self.floor.max(self.last_in)
    }

    fn logit(&self, i: usize) -> f64 {
        f64::from(self.tokens[i].0)
    }

    /// Weight of the tokens from the `from`-th up to the `to`-th, that one excluded.
    fn mass(&self, from: usize, to: usize) -> f64 {
        (self.rest[from] - self.rest[to]).max(0.0)
    }

    /// Sorted tokens of which the logit is `least` or more.
    fn down_to(&self, least: f64) -> usize {
        self.tokens.partition_point(|t| f64::from(t.0) >= least)
    }

    /// The margin of the choice of the `winner`-th token, whose score (with noise) is `best`,
    /// while that of the second is `second`. `noise` is a token's.
    pub(super) fn margin(
        &self,
        winner: usize,
        best: f64,
        second: f64,
        noise: impl Fn(Token) -> f64,
    ) -> f64 {
        let here = self.logit(winner);
        // Another one that is kept.
        let mut margin = ((best - second) * self.temperature).min(self.look);
        // The winner falls out.
        let other = match here < self.max {
            true => self.max,
            false => self.second,
        };
        let above_floor = (here - other) + (self.max - self.floor);
        margin = margin.min(above_floor).min(here - self.first_out).max(0.0);
        if self.has_top_p() {
            margin = least(margin, |x| self.may_fall_out(winner, x));
        }
        // Another one comes in.
        for (i, &(logit, token)) in self.tokens.iter().enumerate().skip(self.kept) {
            if !self.may_come_in(i, margin) {
                if self.has_top_p() {
                    // Nor may those below it.
                    break;
                }
                continue;
            }
            let behind = (best - self.score(logit) - noise(token)) * self.temperature;
            if behind < margin {
                let comes_in = least(margin, |x| self.may_come_in(i, x));
                margin = margin.min(behind.max(comes_in));
            }
        }
        margin
    }

    /// Whether top-p might leave out a token it keeps, if every logit moves by `x` / 2.
    fn may_fall_out(&self, i: usize, x: f64) -> bool {
        let here = self.logit(i);
        // All that might come to be above it do.
        let above = self.down_to(here - x);
        let moved = x / self.temperature;
        if moved > STEEP {
            return above > 1;
        }
        let own = self.mass(i, i + 1);
        let mass_above = match i {
            0 => self.mass(1, above.max(1)),
            _ => self.mass(0, above) - own,
        };
        // Of the others only those count that pass the other filters for sure.
        let sure = self.down_to(self.floor.max(self.first_out) + x);
        let below = own + self.mass(above, sure.max(above));
        mass_above * moved.exp() * (1.0 - self.top_p) >= self.top_p * below
    }

    /// Whether a token that is left out might be kept, if every logit moves by `x` / 2.
    fn may_come_in(&self, i: usize, x: f64) -> bool {
        let here = self.logit(i);
        if here < self.cut() - x {
            return false;
        }
        let moved = x / self.temperature;
        if !self.has_top_p() || moved > STEEP {
            return true;
        }
        // Only those stay above it that cannot help it, and all that might pass the other
        // filters are below it.
        let above = self.tokens.partition_point(|t| f64::from(t.0) > here + x);
        let below = self.mass(above, self.down_to(self.cut() - x).max(above));
        self.mass(0, above) * (1.0 - self.top_p) <= self.top_p * below * moved.exp()
    }
}

/// The least x, up to `most`, at which something `may` happen that may at every larger one
/// too; a little less, never more.
fn least(most: f64, may: impl Fn(f64) -> bool) -> f64 {
    if !may(most) {
        return most;
    }
    let (mut not_yet, mut by_now) = (0.0, most);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (not_yet + by_now);
        match may(middle) {
            true => by_now = middle,
            false => not_yet = middle,
        }
    }
    not_yet
}
