//! What is added to the logits of single tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Token;

/// What a request does to the logit of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bias {
    /// The token is never written.
    Ban,
    /// The logit is raised or lowered.
    Add(Shift),
}

/// A number that can be added to a logit: it is finite, and at most [`Bias::MOST`] either way.
/// [`Bias::add`] makes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift(f32);

impl Shift {
    /// As a number.
    pub fn get(self) -> f32 {
        self.0
    }
}

impl Bias {
    /// The most that is added to a logit, or taken from it. Beyond that the token is as good as
    /// banned, or nothing but the token is written.
    pub const MOST: f32 = 1e4;

    /// A bias that adds `shift`; `None` if that is no number, or more than [`Bias::MOST`] either
    /// way.
    pub fn add(shift: f32) -> Option<Self> {
        (shift.abs() <= Bias::MOST).then_some(Bias::Add(Shift(shift)))
    }

    /// What the bias adds to the logit: −∞ for a ban.
    pub fn shift(self) -> f32 {
        match self {
            Bias::Ban => f32::NEG_INFINITY,
            Bias::Add(shift) => shift.0,
        }
    }
}

/// The biases of a request: each token at most once, in the order of tokens. A clone shares
/// them, so it costs nothing.
///
/// ```
/// use card_core::sampler::{Bias, LogitBias};
///
/// let lower = Bias::add(-2.0).expect("it is a number within bounds");
/// let biases = LogitBias::new([(9, Bias::Ban), (3, lower)]).expect("they are few");
/// let tokens: Vec<u32> = biases.iter().map(|(token, _)| token).collect();
/// assert_eq!(tokens, [3, 9]);
/// assert_eq!(Bias::add(f32::NAN), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogitBias(Arc<[(Token, Bias)]>);

impl LogitBias {
    /// The most tokens that have a bias.
    pub const MOST: usize = 4096;

    /// The biases given; of several for one token the last one holds. `None` if they are for more
    /// than [`LogitBias::MOST`] tokens.
    pub fn new(biases: impl IntoIterator<Item = (Token, Bias)>) -> Option<Self> {
        let mut by_token = BTreeMap::new();
        for (token, bias) in biases {
            by_token.insert(token, bias);
            if by_token.len() > LogitBias::MOST {
                return None;
            }
        }
        Some(LogitBias(by_token.into_iter().collect()))
    }

    /// Every token that has a bias, in the order of tokens.
    pub fn iter(&self) -> impl Iterator<Item = (Token, Bias)> {
        self.0.iter().copied()
    }

    /// Number of tokens that have a bias.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no token has a bias.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_added_to_a_logit_cannot_be_built() {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e5, f32::MIN];
        for shift in odd {
            assert_eq!(Bias::add(shift), None, "{shift}");
        }
        for shift in [0.0, -100.0, Bias::MOST, -Bias::MOST] {
            assert_eq!(Bias::add(shift).map(Bias::shift), Some(shift));
        }
        assert_eq!(Bias::Ban.shift(), f32::NEG_INFINITY);
    }

    #[test]
    fn biases_are_bounded_in_number_and_the_last_one_for_a_token_holds() {
        let ban = |token| (token, Bias::Ban);
        let most = LogitBias::MOST as Token;
        let full = LogitBias::new((0..most).map(ban)).unwrap();
        assert_eq!(full.len(), LogitBias::MOST);
        assert_eq!(LogitBias::new((0..=most).map(ban)), None);
        // The same token again and again is one token.
        let one = LogitBias::new((0..3 * most).map(|_| ban(7))).unwrap();
        assert_eq!(one.len(), 1);
        let add = Bias::add(-2.0).unwrap();
        let twice = LogitBias::new([(9, Bias::Ban), (3, Bias::Ban), (9, add)]).unwrap();
        assert_eq!(twice.iter().collect::<Vec<_>>(), [(3, Bias::Ban), (9, add)]);
        assert!(LogitBias::default().is_empty() && !twice.is_empty());
    }
}
