//! Tokens per millisecond, as averages that forget the old.

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

/// What a round would have been without draft models.
#[derive(Clone, Copy, Debug)]
pub(super) struct WithoutDrafters {
    pub(super) tokens: f64,
    pub(super) ms: f64,
}

impl WithoutDrafters {
    /// Tokens per millisecond.
    pub(super) fn rate(self) -> f64 {
        if self.ms > 0.0 {
            self.tokens / self.ms
        } else {
            0.0
        }
    }
}

/// The rates that rounds have reached, and would have reached without draft models.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReachedRates {
    /// Of all rounds.
    overall: TokenRate,
    /// Of the rounds in which no lookup chain led and no drafter was gated.
    unled: TokenRate,
    /// What those rounds would have reached without draft models.
    undrafted: TokenRate,
    /// Whether a lookup chain leads in the round that was sized last.
    led: bool,
}

impl ReachedRates {
    /// A round was sized; a lookup chain leads in it or not.
    pub(super) fn note_lead(&mut self, led: bool) {
        self.led = led;
    }

    /// Whether a lookup chain leads in the round that was sized last.
    pub(super) fn is_led(&self) -> bool {
        self.led
    }

    /// Adds a round. `without` is what it would have been without draft models, if it says anything
    /// of them.
    pub(super) fn add(&mut self, tokens: f64, ms: f64, without: Option<WithoutDrafters>) {
        self.overall.add(tokens, ms);
        if let Some(without) = without {
            self.unled.add(tokens, ms);
            self.undrafted.add(without.tokens, without.ms);
        }
    }

    /// Tokens per millisecond of all rounds.
    pub(super) fn overall(&self) -> f64 {
        self.overall.get()
    }

    /// Tokens per millisecond where no lookup chain leads and no drafter is gated.
    pub(super) fn unled(&self) -> f64 {
        self.unled.get()
    }

    /// Whether rounds with draft models are slower than they would have been without, or than plain
    /// decoding of so many tokens per millisecond.
    pub(super) fn drafters_lose(&self, plain_rate: f64) -> bool {
        self.unled.get() < self.undrafted.get().max(plain_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_says_nothing_of_drafters_changes_nothing_that_is_said_of_them() {
        let mut rates = ReachedRates::default();
        let without = WithoutDrafters {
            tokens: 1.0,
            ms: 8.0,
        };
        rates.add(3.0, 20.0, Some(without));
        assert!(!rates.drafters_lose(0.14) && rates.drafters_lose(0.16));
        rates.add(9.0, 10.0, None);
        assert_eq!(rates.unled(), 0.15);
        assert!(rates.overall() > 0.35);
        let faster = WithoutDrafters {
            tokens: 2.0,
            ms: 8.0,
        };
        rates.add(3.0, 20.0, Some(faster));
        assert!(rates.drafters_lose(0.0));
    }

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
