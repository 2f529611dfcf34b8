//! A text under a grammar, for those who propose what comes next in it.

use std::sync::Arc;

use crate::constraint::{Grammar, Scout};
use crate::types::{Prob, Token};

/// A text under a grammar, with a scout that looks ahead in it.
///
/// The scout is made when it is asked for the first time, and hears of what was written when it
/// is asked again: where nothing is proposed it costs nothing. One that is lost refuses nothing.
pub(crate) struct ScoutedText {
    grammar: Arc<dyn Grammar>,
    /// `None` until something is asked for the first time.
    scout: Option<Box<dyn Scout>>,
    /// Tokens that were written and that the scout has not heard of.
    unheard: Vec<Token>,
    lost: bool,
}

impl ScoutedText {
    /// A text of which the grammar speaks from the first of the tokens `written` on.
    pub(crate) fn new(grammar: Arc<dyn Grammar>, written: &[Token]) -> Self {
        ScoutedText {
            grammar,
            scout: None,
            unheard: written.to_vec(),
            lost: false,
        }
    }

    /// These tokens were written.
    pub(crate) fn wrote(&mut self, tokens: &[Token]) {
        if !self.lost {
            self.unheard.extend_from_slice(tokens);
        }
    }

    /// How many tokens of `chain`, which begins behind what was written, the grammar allows.
    pub(crate) fn allowed_of(&mut self, chain: &[Token]) -> usize {
        let Some(scout) = self.scout() else {
            return chain.len();
        };
        let refused = (0..chain.len()).find(|&i| !scout.allows(&chain[..i], chain[i]));
        refused.unwrap_or(chain.len())
    }

    /// Takes out of `children`, the best of which come first, what the grammar refuses behind
    /// `path`, and keeps `most` of the others, with their probabilities among what is allowed.
    /// Returns how many were refused.
    pub(crate) fn sift(
        &mut self,
        path: &[Token],
        most: usize,
        children: &mut Vec<(Token, Prob)>,
    ) -> usize {
        let Some(scout) = self.scout() else {
            children.truncate(most);
            return 0;
        };
        let (mut refused, mut kept) = (0, 0);
        let (mut refused_mass, mut kept_mass) = (0.0, 0.0);
        children.retain(|&(token, prob)| {
            if kept == most {
                return false;
            }
            let allowed = scout.allows(path, token);
            if allowed {
                kept += 1;
                kept_mass += prob.get();
            } else {
                refused += 1;
                refused_mass += prob.get();
            }
            allowed
        });
        let mass = (1.0 - refused_mass).max(kept_mass);
        if refused > 0 && mass > 0.0 {
            for (_, prob) in children {
                *prob = Prob::clamped(prob.get() / mass);
            }
        }
        refused
    }

    /// The tokens that come next because the grammar leaves no choice.
    pub(crate) fn forced(&mut self) -> Vec<(Token, Prob)> {
        self.scout().map_or_else(Vec::new, |scout| scout.forced())
    }

    /// The scout, at the end of what was written; `None` if it is lost.
    fn scout(&mut self) -> Option<&mut (dyn Scout + 'static)> {
        if self.lost {
            return None;
        }
        let scout = self.scout.get_or_insert_with(|| self.grammar.scout());
        let mut unheard = self.unheard.drain(..);
        if unheard.any(|token| scout.wrote(token).is_err()) {
            self.lost = true;
            return None;
        }
        Some(&mut **scout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Even and odd tokens take turns, and 13 is never written.
    struct EvenAndOdd;

    struct EvenAndOddScout {
        written: usize,
    }

    impl Grammar for EvenAndOdd {
        fn scout(&self) -> Box<dyn Scout> {
            Box::new(EvenAndOddScout { written: 0 })
        }
    }

    impl Scout for EvenAndOddScout {
        fn wrote(&mut self, token: Token) -> Result<(), String> {
            self.written += 1;
            if token == 13 {
                return Err("13".to_owned());
            }
            Ok(())
        }

        fn allows(&mut self, path: &[Token], token: Token) -> bool {
            (self.written + path.len()) % 2 == token as usize % 2
        }

        fn forced(&mut self) -> Vec<(Token, Prob)> {
            vec![(self.written as Token, Prob::ONE)]
        }
    }

    fn children(tokens: &[(Token, f32)]) -> Vec<(Token, Prob)> {
        let prob = |&(token, prob)| (token, Prob::clamped(prob));
        tokens.iter().map(prob).collect()
    }

    #[test]
    fn what_is_refused_is_left_out_and_the_rest_is_as_likely_as_among_what_is_allowed() {
        let mut text = ScoutedText::new(Arc::new(EvenAndOdd), &[2]);
        let proposed = [(4, 0.5), (5, 0.25), (6, 0.125), (7, 0.0625)];
        let mut behind = children(&proposed);
        // One token was written: an odd one comes next.
        assert_eq!(text.sift(&[], 9, &mut behind), 2);
        let left = 1.0 - 0.5 - 0.125;
        assert_eq!(behind, children(&[(5, 0.25 / left), (7, 0.0625 / left)]));
        // Behind one more token, and no more than are wanted.
        let mut behind = children(&proposed);
        assert_eq!(text.sift(&[9], 1, &mut behind), 0);
        assert_eq!(behind, children(&[(4, 0.5)]));
        assert_eq!(text.allowed_of(&[3, 4, 5, 7, 8]), 3);
        text.wrote(&[3, 4]);
        assert_eq!(text.forced(), [(3, Prob::ONE)]);
    }

    #[test]
    fn a_scout_that_is_lost_refuses_nothing() {
        let mut text = ScoutedText::new(Arc::new(EvenAndOdd), &[2]);
        text.wrote(&[13]);
        let mut behind = children(&[(4, 0.5), (5, 0.25)]);
        assert_eq!(text.sift(&[], 1, &mut behind), 0);
        assert_eq!(behind, children(&[(4, 0.5)]));
        assert_eq!(text.allowed_of(&[4, 4]), 2);
        text.wrote(&[1]);
        assert!(text.forced().is_empty() && text.unheard.is_empty());
    }
}
