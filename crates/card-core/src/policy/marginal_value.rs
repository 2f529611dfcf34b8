//! What a token of a lookup chain is worth.
//!
//! Elsewhere a token is worth the time that a token takes on average, 1/λ. In a text that is
//! being copied the next tokens come faster than that, so being one token further saves less.
//! A long doubtful tail of the chain is not worth its rows, since what is left out is verified
//! in the next forward for the price of a row. How much less a token is worth follows from the
//! chain itself, by dynamic programming from its end: the least expected time to go from each
//! of its tokens on, if the chain goes on being right with its chances, and is left for good
//! where it is wrong.

use super::situation::Base;
use super::state::Policy;

impl Policy {
    /// The marginal value of each token of a lookup chain in a forward that decodes `base`
    /// anyway, from 0 to 1, where 1 is the value of a token that no lookup chain proposes.
    /// `chances` are the probabilities of the chain's tokens, each given that those before it
    /// are right, up to the last token that is wanted. A forward carries at most `most` of
    /// them.
    pub fn marginal_values(&self, base: Base, chances: &[f32], most: usize) -> Vec<f32> {
        let forward_ms = |n: usize| self.forward_ms(base.rows + n as u32);
        // Of what the forward decodes anyway, only one sequence's share counts here.
        let others_ms = forward_ms(0) * (1.0 - 1.0 / f64::from(base.sequences.max(1)));
        let most = most.min(chances.len());
        let verify_ms: Vec<f64> = (0..=most).map(|n| forward_ms(n) - others_ms).collect();
        marginal_values(chances, self.rate(base), &verify_ms)
    }
}

/// The marginal value of each token of a chain, 1 for that of a token elsewhere. `chances` are
/// probabilities, each given that those before it are right; `rate` is tokens per millisecond
/// where no lookup chain leads; `verify_ms[n]` is the milliseconds of a forward with n
/// candidates, up to as many as a forward may have. O(length²).
fn marginal_values(chances: &[f32], rate: f64, verify_ms: &[f64]) -> Vec<f32> {
    let length = chances.len();
    let chance = |j: usize| f64::from(chances[j]);
    // Milliseconds to go, less those that remain from the chain's first token on without it.
    let elsewhere = |j: usize| -(j as f64) / rate;
    let mut to_go: Vec<f64> = (0..=length).map(elsewhere).collect();
    // To go after token `j` and one token of the target's own.
    let behind = |to_go: &[f64], j: usize| {
        if j < length {
            chance(j) * to_go[j + 1] + (1.0 - chance(j)) * elsewhere(j + 1)
        } else {
            elsewhere(j + 1)
        }
    };
    for j in (0..length).rev() {
        let (mut reach, mut broken) = (1.0, 0.0);
        for (n, ms) in verify_ms.iter().take(length - j + 1).enumerate() {
            let here = ms + broken + reach * behind(&to_go, j + n);
            to_go[j] = to_go[j].min(here);
            if let Some(next) = chances.get(j + n) {
                let next = f64::from(*next);
                broken += reach * (1.0 - next) * elsewhere(j + n + 1);
                reach *= next;
            }
        }
    }
    let value = |j: usize| rate * (to_go[j] - behind(&to_go, j));
    (1..=length)
        .map(|j| value(j).clamp(0.0, 1.0) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A forward takes 10 and each candidate 2 more.
    fn verify(length: usize) -> Vec<f64> {
        (0..=length).map(|n| 10.0 + 2.0 * n as f64).collect()
    }

    #[test]
    fn a_doubtful_chain_changes_nothing() {
        let values = marginal_values(&[0.1; 8], 0.1, &verify(8));
        assert_eq!(values.len(), 8);
        assert!(values.iter().all(|v| *v > 0.9), "{values:?}");
        assert!(marginal_values(&[], 0.1, &verify(0)).is_empty());
    }

    #[test]
    fn in_a_sure_chain_a_token_is_worth_little_more_than_its_row() {
        let values = marginal_values(&[0.99; 32], 0.1, &verify(32));
        // A row takes 2 of the 10 that a token takes elsewhere, and a forward's 10 is
        // shared by many.
        assert!(
            values[..16].iter().all(|v| (0.2..0.45).contains(v)),
            "{values:?}"
        );
        assert_eq!(values[31], 1.0, "the end of what is known");
    }

    #[test]
    fn a_short_sure_chain_is_verified_at_once() {
        let chances = [1.0; 4];
        let values = marginal_values(&chances, 0.1, &verify(4));
        let sum = |n: usize| -> f64 {
            let tokens: f64 = values[..n].iter().map(|v| f64::from(*v)).sum();
            tokens - 0.1 * verify(4)[n]
        };
        let best = (0..=4).max_by(|a, b| sum(*a).total_cmp(&sum(*b)));
        assert_eq!(best, Some(4), "{values:?}");
    }

    #[test]
    fn as_many_are_taken_as_in_the_long_run_are_best() {
        // Each token is right with 0.9: a forward of n candidates writes 10 (1 - 0.9^(n+1))
        // tokens in 10 + 2 n, most per millisecond at n = 6. Without knowing that the text
        // goes on like this, all candidates of reach over 0.2 would pay: 15.
        let chances = [0.9; 32];
        let values = marginal_values(&chances, 0.1, &verify(32));
        let (mut reach, mut sum, mut best) = (1.0, 0.0, (0.0, 0));
        for (n, value) in values.iter().enumerate() {
            reach *= 0.9;
            sum += reach * f64::from(*value) - 0.1 * 2.0;
            if sum > best.0 {
                best = (sum, n + 1);
            }
        }
        assert!((5..=7).contains(&best.1), "{best:?}");
    }
}
