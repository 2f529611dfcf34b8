//! Tokens per millisecond, as an average that forgets the old.

/// The share of both sums that is kept from one round to the next: about the last 33 rounds
/// count.
const KEEP: f64 = 0.97;

/// Tokens per millisecond over the last rounds. The invariant is that both sums have the same
/// weights, so their quotient is the mean rate of the rounds they remember.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokenRate {
    tokens: f64,
    ms: f64,
}

impl TokenRate {
    /// Adds a round that committed `tokens` in `ms` milliseconds.
    pub(super) fn add(&mut self, tokens: f64, ms: f64) {
        self.tokens = self.tokens * KEEP + tokens;
        self.ms = self.ms * KEEP + ms;
    }

    /// Tokens per millisecond; 0 before the first round.
    pub(super) fn get(&self) -> f64 {
        if self.ms > 0.0 {
            self.tokens / self.ms
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_change_within_a_hundred_rounds() {
        let mut rate = TokenRate::default();
        assert_eq!(rate.get(), 0.0);
        for _ in 0..100 {
            rate.add(1.0, 10.0);
        }
        assert!((rate.get() - 0.1).abs() < 1e-9);
        for _ in 0..100 {
            rate.add(3.0, 10.0);
        }
        assert!((rate.get() - 0.3).abs() < 0.02, "{}", rate.get());
    }
}
