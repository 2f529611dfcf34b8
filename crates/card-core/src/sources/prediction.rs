//! Predicted output: text that the user expects back, such as the file that is to be edited.
//!
//! Where the recent tokens stand in the predicted text, what follows there is proposed. Where
//! they do not, the target has just written something else, and the predicted text is taken up
//! again near the place where it was left: behind the token that was written, if that token
//! comes soon, else one token further on, as after a substitution.

use super::chain::{Chain, LONGEST};
use super::text_index::TextIndex;
use crate::types::Token;

/// How many tokens ahead a single token is looked for.
const AHEAD: usize = 12;

/// Probability that the predicted text goes on after a match of `length` tokens, before anything
/// was learned. Text that somebody predicts is surer to go on than text that happened to stand
/// somewhere; but where nothing matches, the target is writing something else
/// (docs/sources.md).
fn prediction_confidence(length: usize) -> f32 {
    match length {
        0 => 0.1,
        1 => 0.7,
        2 => 0.83,
        3 => 0.88,
        n => 1.0 - 1.0 / (n as f32 + 16.0),
    }
}

/// A predicted text, and the index in it of the token that is expected next.
///
/// ```
/// use card_core::sources::Prediction;
///
/// let mut prediction = Prediction::new(&[10, 11, 12, 13]);
/// let mut chain = Vec::new();
/// // Nothing was written yet: the text is proposed from its beginning.
/// prediction.propose(&[1], 0, &mut chain);
/// assert_eq!(chain[0].0, 10);
/// // Two tokens came as predicted.
/// prediction.propose(&[1, 10, 11], 2, &mut chain);
/// assert_eq!(chain[0].0, 12);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Prediction {
    text: TextIndex,
    next: usize,
}

impl Prediction {
    /// The text that is expected; it may be empty.
    pub fn new(tokens: &[Token]) -> Self {
        Prediction {
            text: TextIndex::new(tokens),
            next: 0,
        }
    }

    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Proposes what follows `recent`, the text so far. Its last `written` tokens are new since
    /// the last call.
    pub fn propose(&mut self, recent: &[Token], written: usize, out: &mut Chain) {
        out.clear();
        if self.is_empty() {
            return;
        }
        let expected = self.next + written;
        let (length, next) = match self.text.find(recent, Some(expected)) {
            Some(found) => found,
            None => self.nearby(recent.last().copied(), expected),
        };
        self.next = next;
        let follows = self.text.tokens()[next.min(self.text.len())..].iter();
        let follows = follows.take(LONGEST).enumerate();
        out.extend(follows.map(|(i, &t)| (t, prediction_confidence(length + i))));
    }

    /// Where to go on if nothing matches: behind `token`, if that comes soon in the predicted
    /// text, else at the place `expected`. With it the length of the match, 1 or 0.
    fn nearby(&self, token: Option<Token>, expected: usize) -> (usize, usize) {
        let from = self.next.min(self.text.len());
        let soon = self.text.tokens()[from..].iter().take(AHEAD);
        match soon.into_iter().position(|t| Some(*t) == token) {
            Some(i) => (1, from + i + 1),
            None => (0, expected.min(self.text.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(prediction: &mut Prediction, recent: &[Token], written: usize) -> Vec<Token> {
        let mut out = Vec::new();
        prediction.propose(recent, written, &mut out);
        out.iter().map(|c| c.0).collect()
    }

    #[test]
    fn is_proposed_from_the_first_token_on_and_taken_up_behind_a_change() {
        let text = [10, 11, 12, 13, 14, 15, 16];
        let mut p = Prediction::new(&text);
        assert_eq!(follows(&mut p, &[1], 0), text);
        assert_eq!(follows(&mut p, &[1, 10], 1), text[1..]);
        // 12 became 99: 13 comes next.
        assert_eq!(follows(&mut p, &[1, 10, 11, 99], 2), text[3..]);
        // Two tokens were left out.
        assert_eq!(follows(&mut p, &[1, 10, 11, 99, 15], 1), text[6..]);
        assert!(follows(&mut p, &[1, 10, 11, 99, 15, 16], 1).is_empty());
    }

    #[test]
    fn of_two_places_alike_the_nearer_one_counts() {
        let mut p = Prediction::new(&[1, 2, 30, 1, 2, 40, 1, 2, 50]);
        assert_eq!(follows(&mut p, &[1, 2], 2)[0], 30);
        assert_eq!(follows(&mut p, &[1, 2, 30, 1, 2], 3)[0], 40);
        // Only the last two tokens agree.
        assert_eq!(follows(&mut p, &[1, 2, 30, 1, 2, 99, 1, 2], 3)[0], 50);
    }
}
