//! What a token is worth where text at hand leads.
//!
//! Elsewhere a token is worth the time that one takes on average, 1/λ. In a text that is
//! being copied the next ones come faster than that, so being one further saves less: a
//! long doubtful tail of the chain is not worth its rows, since what is left out is
//! verified next time, for the price of a row. How much less follows from the chain itself
//! by dynamic programming from its end: the least time to go from each of its tokens on,
//! if it goes on being right with its chances and is left for good where it is wrong.

/// Worth of each token of a chain, 1 for that of a token elsewhere. `chances` are
/// probabilities, each given that those before are right; `rate` is tokens per millisecond
/// where nothing leads; `verify[n]` milliseconds of a forward with n candidates, up to as
/// many as it may have. O(length²).
pub fn worths(chances: &[f32], rate: f64, verify: &[f64]) -> Vec<f32> {
    let length = chances.len();
    let chance = |j: usize| f64::from(chances[j]);
    // Milliseconds to go, less those from the chain's first token on without it.
    let elsewhere = |j: usize| -(j as f64) / rate;
    let mut to_go: Vec<f64> = (0..=length).map(elsewhere).collect();
    // After token `j`, with one of the target's own.
    let behind = |to_go: &[f64], j: usize| match j < length {
        true => chance(j) * to_go[j + 1] + (1.0 - chance(j)) * elsewhere(j + 1),
        false => elsewhere(j + 1),
    };
    for j in (0..length).rev() {
        let (mut reach, mut broken) = (1.0, 0.0);
        for (n, ms) in verify.iter().take(length - j + 1).enumerate() {
            let here = ms + broken + reach * behind(&to_go, j + n);
            to_go[j] = to_go[j].min(here);
            if let Some(next) = chances.get(j + n) {
                let next = f64::from(*next);
                broken += reach * (1.0 - next) * elsewhere(j + n + 1);
                reach *= next;
            }
        }
    }
    let worth = |j: usize| rate * (to_go[j] - behind(&to_go, j));
    (1..=length)
        .map(|j| worth(j).clamp(0.0, 1.0) as f32)
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
        let worths = worths(&[0.1; 8], 0.1, &verify(8));
        assert_eq!(worths.len(), 8);
        assert!(worths.iter().all(|w| *w > 0.9), "{worths:?}");
        assert!(super::worths(&[], 0.1, &verify(0)).is_empty());
    }

    #[test]
    fn in_a_sure_chain_a_token_is_worth_little_more_than_its_row() {
        let worths = worths(&[0.99; 32], 0.1, &verify(32));
        // A row takes 2 of the 10 that a token takes elsewhere, and a forward's 10 is
        // shared by many.
        assert!(
            worths[..16].iter().all(|w| (0.2..0.45).contains(w)),
            "{worths:?}"
        );
        assert_eq!(worths[31], 1.0, "the end of what is known");
    }

    #[test]
    fn a_short_sure_chain_is_verified_at_once() {
        let chances = [1.0; 4];
        let worths = worths(&chances, 0.1, &verify(4));
        let sum = |n: usize| -> f64 {
            let tokens: f64 = worths[..n].iter().map(|w| f64::from(*w)).sum();
            tokens - 0.1 * verify(4)[n]
        };
        let best = (0..=4).max_by(|a, b| sum(*a).total_cmp(&sum(*b)));
        assert_eq!(best, Some(4), "{worths:?}");
    }

    #[test]
    fn as_many_are_taken_as_in_the_long_run_are_best() {
        // Each token is right with 0.9: a forward of n candidates writes 10 (1 - 0.9^(n+1))
        // tokens in 10 + 2 n, most per millisecond at n = 6. Without knowing that the text
        // goes on like this, all candidates of reach over 0.2 would pay: 15.
        let chances = [0.9; 32];
        let worths = worths(&chances, 0.1, &verify(32));
        let (mut reach, mut sum, mut best) = (1.0, 0.0, (0.0, 0));
        for (n, worth) in worths.iter().enumerate() {
            reach *= 0.9;
            sum += reach * f64::from(*worth) - 0.1 * 2.0;
            if sum > best.0 {
                best = (sum, n + 1);
            }
        }
        assert!((5..=7).contains(&best.1), "{best:?}");
    }
}
