//! How far the logits may move before another token is chosen.
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

use super::filter::FilteredTokens;
use crate::types::Token;

/// Temperatures that logits move by, beyond which e^(moves) is not worked out: whoever comes
/// near enough then changes sides.
const STEEP: f64 = 20.0;
/// Steps of a bisection.
const HALVINGS: usize = 40;

impl FilteredTokens {
    /// The margin of the choice of the `winner`-th token. `best` is its score, noise included, and
    /// `second` the score of the second token; `noise` gives the noise of a token.
    pub(super) fn margin(
        &self,
        winner: usize,
        best: f64,
        second: f64,
        noise: impl Fn(Token) -> f64,
    ) -> f64 {
        let here = self.logit(winner);
        // Another token that is kept wins.
        let mut margin = ((best - second) * self.temperature).min(self.look);
        // The winner falls out.
        let other = if here < self.max {
            self.max
        } else {
            self.second
        };
        let above_floor = (here - other) + (self.max - self.floor);
        margin = margin.min(above_floor).min(here - self.first_out).max(0.0);
        if self.has_top_p() {
            margin = least(margin, |x| self.may_fall_out(winner, x));
        }
        // Another token comes in.
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
        // All tokens that might come to be above it do.
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
        // Of the other tokens only those count that pass the other filters for sure.
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
        // Only tokens that cannot come below it stay above it, and all that might pass the other
        // filters are below it.
        let above = self.tokens.partition_point(|t| f64::from(t.0) > here + x);
        let below = self.mass(above, self.down_to(self.cut() - x).max(above));
        self.mass(0, above) * (1.0 - self.top_p) <= self.top_p * below * moved.exp()
    }
}

/// The least x, up to `most`, at which something `may` happen. What may happen at some x may
/// happen at every larger one too. The answer may be a little too small, never too large.
fn least(most: f64, may: impl Fn(f64) -> bool) -> f64 {
    if !may(most) {
        return most;
    }
    let (mut not_yet, mut by_now) = (0.0, most);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (not_yet + by_now);
        if may(middle) {
            by_now = middle;
        } else {
            not_yet = middle;
        }
    }
    not_yet
}
