//! What it takes to take back, save and put back the state of a model that cannot take back any
//! token.
//!
//! A forward keeps the state from before it, and the time that this takes is in the cost curve,
//! since every forward of such a model is measured with it. What comes on top is measured where it happens, and charged here:
//!
//! | time | when | charged |
//! |---|---|---|
//! | taking back | a candidate was rejected | with the probability of that (`rejection`) |
//! | saving a state, putting one back | where texts may part | a state is saved only if reading the tokens again takes longer |

use std::time::Duration;

use crate::moving_average::MovingAverage;

/// A measurement counts as at most so many times the mean: a machine that paused says nothing.
const MOST: f64 = 4.0;
/// Milliseconds that are believed at most.
const LONGEST: f64 = 60_000.0;

/// Milliseconds that changes of a state take, as they were measured; 0 before the first time.
///
/// ```
/// use std::time::Duration;
///
/// use card_core::policy::StateCost;
///
/// let mut cost = StateCost::default();
/// assert_eq!(cost.save_ms(), 0.0);
/// cost.saved(Duration::from_millis(8));
/// cost.resumed(Duration::from_millis(4));
/// assert_eq!((cost.save_ms(), cost.resume_ms()), (8.0, 4.0));
/// // Tokens that take a millisecond to read have to be at least twelve.
/// assert_eq!(cost.least_tokens(1.0), 12);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StateCost {
    take_back: MovingAverage,
    save: MovingAverage,
    resume: MovingAverage,
}

/// Adds a measurement to a mean in milliseconds.
fn add(mean: &mut MovingAverage, elapsed: Duration) {
    let ms = (elapsed.as_secs_f64() * 1e3).min(LONGEST);
    let most = if mean.value() > 0.0 {
        MOST * mean.value()
    } else {
        LONGEST
    };
    mean.add(ms.min(most));
}

impl StateCost {
    /// A rejected candidate was taken back in this time.
    pub fn taken_back(&mut self, elapsed: Duration) {
        add(&mut self.take_back, elapsed);
    }

    /// A state was saved in this time.
    pub fn saved(&mut self, elapsed: Duration) {
        add(&mut self.save, elapsed);
    }

    /// A saved state was put back in this time.
    pub fn resumed(&mut self, elapsed: Duration) {
        add(&mut self.resume, elapsed);
    }

    /// Milliseconds to take back what was rejected, beside decoding again.
    pub fn take_back_ms(&self) -> f64 {
        self.take_back.value()
    }

    /// Milliseconds to save a state.
    pub fn save_ms(&self) -> f64 {
        self.save.value()
    }

    /// Milliseconds to put a saved state back.
    pub fn resume_ms(&self) -> f64 {
        self.resume.value()
    }

    /// Tokens that a saved state has to spare at least, if reading one takes `token_ms`
    /// milliseconds: so many that reading them again takes as long as saving the state and putting
    /// it back.
    pub fn least_tokens(&self, token_ms: f64) -> usize {
        let ms = self.save_ms() + self.resume_ms();
        // A quotient that is no number, or too large for one, becomes 0 or the largest number.
        (ms / token_ms).ceil() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_of_the_machine_moves_the_mean_little() {
        let mut cost = StateCost::default();
        for _ in 0..20 {
            cost.taken_back(Duration::from_millis(2));
        }
        cost.taken_back(Duration::from_secs(30));
        assert!((2.0..3.0).contains(&cost.take_back_ms()), "{cost:?}");
        assert_eq!((cost.save_ms(), cost.resume_ms()), (0.0, 0.0));
    }

    #[test]
    fn a_state_that_costs_nothing_is_worth_any_token() {
        let mut cost = StateCost::default();
        assert_eq!(cost.least_tokens(1.0), 0);
        cost.saved(Duration::from_millis(100));
        assert_eq!(cost.least_tokens(10.0), 10);
        assert_eq!(cost.least_tokens(0.0), usize::MAX);
    }
}
