//! A checked probability.

/// A probability: a finite number from 0 to 1. No other number can be built, so that nobody
/// who holds one has to check it.
///
/// ```
/// use card_core::types::Prob;
///
/// assert_eq!(Prob::new(1.5), None);
/// assert_eq!(Prob::clamped(1.5), Prob::ONE);
/// assert_eq!(Prob::clamped(f32::NAN), Prob::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Prob(f32);

impl Prob {
    /// Impossible.
    pub const ZERO: Prob = Prob(0.0);
    /// Certain.
    pub const ONE: Prob = Prob(1.0);

    /// `value`, if it is a probability.
    pub fn new(value: f32) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Prob(value))
    }

    /// The probability nearest to `value`; NaN counts as 0.
    pub fn clamped(value: f32) -> Self {
        if value.is_nan() {
            Prob::ZERO
        } else {
            Prob(value.clamp(0.0, 1.0))
        }
    }

    /// As a number.
    pub fn get(self) -> f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_probability_cannot_be_built() {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e-9, 1.000_001];
        for value in odd {
            assert_eq!(Prob::new(value), None, "{value}");
            let near = Prob::clamped(value).get();
            assert!((0.0..=1.0).contains(&near), "{value} gives {near}");
        }
        assert_eq!(Prob::clamped(f32::NAN), Prob::ZERO);
        for value in [0.0, 1e-38, 0.5, 1.0] {
            assert_eq!(Prob::new(value).map(Prob::get), Some(value));
            assert_eq!(Prob::clamped(value).get(), value);
        }
    }
}
