//! Where the time of a text went, against what a bound says it could have taken.
//!
//! A bound says how many milliseconds a token could take on average. Each round took some time and
//! brought some tokens. What it took beyond the bound's time for its tokens is its shortfall, put
//! down to why the round brought no more ([`RoundStop`]). Time between rounds, in which the target
//! waited for drafts, is a cause of its own. So all causes together are the whole distance between
//! a run and its bound, and the largest one says what a better schedule has to change. A cause may
//! be negative: rounds that brought more than the bound's average.

use crate::scheduler::{Round, RoundStop};

/// Causes, in the order in which they are shown.
const CAUSES: [ShortfallCause; 6] = [
    ShortfallCause::Waiting,
    ShortfallCause::Stopped(RoundStop::NotProposed),
    ShortfallCause::Stopped(RoundStop::NotVerified),
    ShortfallCause::Stopped(RoundStop::Late),
    ShortfallCause::Stopped(RoundStop::NotDrafted),
    ShortfallCause::Ended,
];

/// Why time was spent beyond a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortfallCause {
    /// Between two forwards: the target waited for drafts, or was told late what to do.
    Waiting,
    /// Rounds that stopped for this reason.
    Stopped(RoundStop),
    /// Rounds at whose end the text ended, or a close decision was left to another forward.
    Ended,
}

/// The part of a text's time that one cause explains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortfallPart {
    /// The cause.
    pub cause: ShortfallCause,
    /// Rounds; 0 for [`ShortfallCause::Waiting`], which lies between them.
    pub rounds: u64,
    /// Tokens that these rounds brought.
    pub tokens: u64,
    /// Milliseconds that they took.
    pub ms: f64,
}

/// The time of one or several texts by cause, in milliseconds. Each sequence of a forward counts
/// for its share of the forward's time.
///
/// ```
/// use card_core::shortfall::{Shortfall, ShortfallCause};
///
/// let nothing = Shortfall::default();
/// assert_eq!(nothing.parts().len(), 6);
/// assert_eq!(nothing.parts()[0].cause, ShortfallCause::Waiting);
/// assert_eq!(nothing.beyond_ms(7.0), 0.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shortfall {
    /// By cause, in the order of [`CAUSES`].
    sums: [Sum; CAUSES.len()],
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    rounds: u64,
    tokens: u64,
    ms: f64,
}

impl ShortfallCause {
    /// The cause in a few words, for people.
    pub fn words(self) -> &'static str {
        match self {
            ShortfallCause::Waiting => "the target waited for drafts",
            ShortfallCause::Stopped(RoundStop::NotProposed) => "the token was not proposed",
            ShortfallCause::Stopped(RoundStop::NotVerified) => "a candidate, but not verified",
            ShortfallCause::Stopped(RoundStop::Late) => "drafted while the target verified",
            ShortfallCause::Stopped(RoundStop::NotDrafted) => "not drafted yet",
            ShortfallCause::Ended => "the text ended",
        }
    }
}

impl ShortfallPart {
    /// Milliseconds beyond a bound of so many milliseconds per token.
    pub fn beyond_ms(&self, bound_ms: f64) -> f64 {
        self.ms - bound_ms * self.tokens as f64
    }
}

impl Shortfall {
    /// Adds a round; one that reads a prompt is left out.
    pub fn note(&mut self, round: &Round) {
        if round.prefill {
            return;
        }
        let share = 1e3 / f64::from(round.why.sequences.max(1));
        let waited = round.elapsed.saturating_sub(round.forward);
        let cause = match round.stop {
            Some(stop) => ShortfallCause::Stopped(stop),
            None => ShortfallCause::Ended,
        };
        self.add(ShortfallCause::Waiting, 0, 0, share * waited.as_secs_f64());
        let (tokens, ms) = (round.tokens.len() as u64, round.forward.as_secs_f64());
        self.add(cause, 1, tokens, share * ms);
    }

    fn add(&mut self, cause: ShortfallCause, rounds: u64, tokens: u64, ms: f64) {
        let at = CAUSES.iter().position(|c| *c == cause).unwrap_or_default();
        let sum = &mut self.sums[at];
        sum.rounds += rounds;
        sum.tokens += tokens;
        sum.ms += ms;
    }

    /// Adds the rounds that another shortfall has noted.
    pub fn merge(&mut self, other: &Shortfall) {
        for part in other.parts() {
            self.add(part.cause, part.rounds, part.tokens, part.ms);
        }
    }

    /// Every cause, those of which nothing was noted too.
    pub fn parts(&self) -> Vec<ShortfallPart> {
        let parts = CAUSES.iter().zip(&self.sums);
        let part = |(&cause, sum): (&ShortfallCause, &Sum)| ShortfallPart {
            cause,
            rounds: sum.rounds,
            tokens: sum.tokens,
            ms: sum.ms,
        };
        parts.map(part).collect()
    }

    /// Milliseconds of all rounds, and between them.
    pub fn ms(&self) -> f64 {
        self.sums.iter().map(|s| s.ms).sum()
    }

    /// Tokens of all rounds.
    pub fn tokens(&self) -> u64 {
        self.sums.iter().map(|s| s.tokens).sum()
    }

    /// Milliseconds of all causes beyond a bound of so many milliseconds per token.
    pub fn beyond_ms(&self, bound_ms: f64) -> f64 {
        self.parts().iter().map(|p| p.beyond_ms(bound_ms)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole_distance_to_the_bound() {
        let mut all = Shortfall::default();
        let late = ShortfallCause::Stopped(RoundStop::Late);
        all.add(ShortfallCause::Waiting, 0, 0, 14.0);
        all.add(late, 2, 12, 98.0);
        all.add(ShortfallCause::Ended, 1, 3, 49.0);
        assert_eq!((all.ms(), all.tokens()), (161.0, 15));
        // The bound is 7 ms a token.
        assert_eq!(all.beyond_ms(7.0), 161.0 - 15.0 * 7.0);
        let parts = all.parts();
        let of = |cause| {
            parts
                .iter()
                .find(|p| p.cause == cause)
                .map(|p| p.beyond_ms(7.0))
        };
        assert_eq!(of(ShortfallCause::Waiting), Some(14.0));
        assert_eq!(of(late), Some(14.0));
        assert_eq!(of(ShortfallCause::Ended), Some(28.0));
        let mut twice = all;
        twice.merge(&all);
        assert_eq!((twice.ms(), twice.tokens()), (322.0, 30));
    }

    #[test]
    fn every_cause_has_words_of_its_own() {
        let mut words: Vec<&str> = CAUSES.iter().map(|c| c.words()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), CAUSES.len());
    }
}
