//! The tokens that both vocabularies have.

use super::piece_index::PieceIndex;
use super::vocabulary::Roles;
use crate::types::Token;

/// Stands for no token in the lists of [`ExactPairs`].
const NONE: Token = Token::MAX;

/// Pairs of a target token and the draft token that is the same. Invariant: no token is in two
/// pairs, so the pairs are a bijection between the tokens that both vocabularies have.
#[derive(Debug)]
pub(super) struct ExactPairs {
    /// The draft token of each target token.
    to_draft: Vec<Token>,
    /// The target token of each draft token.
    to_target: Vec<Token>,
}

impl ExactPairs {
    /// No pair yet, for so many tokens.
    pub(super) fn new(target: usize, draft: usize) -> Self {
        ExactPairs {
            to_draft: vec![NONE; target],
            to_target: vec![NONE; draft],
        }
    }

    /// The draft token that is the same as a target token.
    pub(super) fn draft_of(&self, target: Token) -> Option<Token> {
        let found = self.to_draft.get(target as usize).copied();
        found.filter(|&token| token != NONE)
    }

    /// The target token that is the same as a draft token.
    pub(super) fn target_of(&self, draft: Token) -> Option<Token> {
        let found = self.to_target.get(draft as usize).copied();
        found.filter(|&token| token != NONE)
    }

    /// Number of draft tokens.
    pub(super) fn draft_tokens(&self) -> usize {
        self.to_target.len()
    }

    /// (draft token, target token) of every pair, in the order of the draft tokens.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, Token)> + '_ {
        let pairs = (0..).zip(self.to_target.iter().copied());
        pairs.filter(|pair| pair.1 != NONE)
    }

    /// Pairs the control tokens of the same role. Of a token with several roles the first in the
    /// order of [`Roles::in_order`] counts for which the other vocabulary has a token left.
    pub(super) fn pair_roles(&mut self, target: &Roles, draft: &Roles) {
        for pair in target.in_order().into_iter().zip(draft.in_order()) {
            if let (Some(t), Some(d)) = pair {
                self.pair(t, d);
            }
        }
    }

    /// Pairs the tokens of the same text.
    pub(super) fn pair_texts(&mut self, target: &PieceIndex, draft: &PieceIndex) {
        for &token in target.tokens() {
            if let Some(same) = draft.exact(target.bytes(token)) {
                self.pair(token, same);
            }
        }
    }

    fn pair(&mut self, target: Token, draft: Token) {
        let free = self.draft_of(target).is_none() && self.target_of(draft).is_none();
        let places = (
            self.to_draft.get_mut(target as usize),
            self.to_target.get_mut(draft as usize),
        );
        if let (true, (Some(to_draft), Some(to_target))) = (free, places) {
            *to_draft = draft;
            *to_target = target;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_paired_once_and_by_role_alone() {
        // As of Qwen 2.5 and SmolLM2: the one's `bos` ends texts, the other's begins turns.
        let target = Roles {
            bos: Some(10),
            eos: Some(12),
            eot: Some(12),
            turn: Some(11),
            adds_bos: false,
        };
        let draft = Roles {
            bos: Some(1),
            eos: Some(2),
            eot: Some(2),
            turn: Some(1),
            adds_bos: false,
        };
        let mut pairs = ExactPairs::new(20, 5);
        pairs.pair_roles(&target, &draft);
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [(1, 11), (2, 12)]);
        assert_eq!(pairs.draft_of(10), None);
        assert_eq!(pairs.draft_of(99), None);
        assert_eq!(pairs.target_of(99), None);
    }
}
