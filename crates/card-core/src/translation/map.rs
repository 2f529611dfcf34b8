//! What the tokens of two vocabularies have to do with each other.

use super::coverage::VocabularyCoverage;
use super::error::TranslationError;
use super::exact::ExactPairs;
use super::piece_index::PieceIndex;
use super::reading::TokenReading;
use super::scatter::Scatter;
use super::stand_ins::stand_ins;
use super::vocabulary::Vocabulary;
use crate::types::Token;

/// How the tokens of a target and of a draft model of another vocabulary are translated. It is
/// made once for a pair of models and never changes.
///
/// Invariants: every target token has at least one piece; every piece is a draft token; a token
/// that both vocabularies have is its own only piece, and these tokens are a bijection.
///
/// Making it takes time that grows with the bytes of both vocabularies (and the logarithm of
/// their number of tokens); the memory it keeps is some 30 bytes for each token.
#[derive(Debug)]
pub struct TokenMap {
    pairs: ExactPairs,
    reading: TokenReading,
    scatter: Scatter,
    coverage: VocabularyCoverage,
    target_tokens: usize,
    begin: Option<Token>,
}

impl TokenMap {
    /// The map between the tokens of a target and those of a draft model.
    ///
    /// # Errors
    /// If nothing that the draft model says could be proposed to the target.
    pub fn new(target: &Vocabulary, draft: &Vocabulary) -> Result<Self, TranslationError> {
        let (target_texts, draft_texts) = (PieceIndex::new(target), PieceIndex::new(draft));
        let mut pairs = ExactPairs::new(target.len(), draft.len());
        pairs.pair_roles(&target.roles(), &draft.roles());
        let roles = pairs.iter().count();
        pairs.pair_texts(&target_texts, &draft_texts);
        let reading = TokenReading::new(target, draft, &draft_texts, &pairs);
        let reading = reading.ok_or(TranslationError::NothingInCommon)?;
        let stand_ins = stand_ins(draft, &target_texts, &reading, &pairs);
        let scatter = Scatter::new(target.len(), &pairs, stand_ins);
        // A draft model that can only end a text is of no use.
        if scatter.reached() == roles {
            return Err(TranslationError::NothingInCommon);
        }
        let coverage = VocabularyCoverage::of(target, &draft_texts, &reading, &pairs);
        let begin = draft.roles().bos.filter(|_| draft.roles().adds_bos);
        Ok(TokenMap {
            pairs,
            reading,
            scatter,
            coverage,
            target_tokens: target.len(),
            begin,
        })
    }

    /// Number of target tokens.
    pub fn target_tokens(&self) -> usize {
        self.target_tokens
    }

    /// Number of draft tokens.
    pub fn draft_tokens(&self) -> usize {
        self.pairs.draft_tokens()
    }

    /// How much of the target's vocabulary the draft model can read and propose.
    pub fn coverage(&self) -> &VocabularyCoverage {
        &self.coverage
    }

    /// Number of target tokens that can be proposed.
    pub fn proposable(&self) -> usize {
        self.scatter.reached()
    }

    /// The draft token that is the same as a target token.
    pub fn draft_of(&self, target: Token) -> Option<Token> {
        self.pairs.draft_of(target)
    }

    /// The target token that is the same as a draft token.
    pub fn target_of(&self, draft: Token) -> Option<Token> {
        self.pairs.target_of(draft)
    }

    /// The draft tokens that a target token is read as: the draft token that is the same; else
    /// those that spell its bytes; else, if the draft model has none for them,
    /// [`TokenMap::filler`]. `None` for a token that the target does not have.
    pub fn pieces(&self, target: Token) -> Option<&[Token]> {
        self.reading.of(target)
    }

    /// The draft token that takes the place of every target token which the draft model cannot
    /// spell.
    pub fn filler(&self) -> Token {
        self.reading.filler()
    }

    /// The draft token that every text begins with for the draft model, if there is one.
    pub fn begin(&self) -> Option<Token> {
        self.begin
    }

    /// Writes a row of the draft model's logits into `into`, a row of the target's vocabulary that
    /// holds −∞ or what an earlier call wrote. A target token that nothing stands for keeps −∞.
    pub fn scatter(&self, logits: &[f32], into: &mut [f32]) {
        self.scatter.write(logits, into);
    }

    /// Which target tokens get which logits.
    pub(super) fn scatters(&self) -> &Scatter {
        &self.scatter
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::{Roles, TokenKind};
    use super::*;

    fn vocabulary(tokens: &[&'static str], roles: Roles) -> Vocabulary {
        let tokens = tokens.iter().map(|&t| (t, TokenKind::Text));
        Vocabulary::new(tokens, roles).unwrap()
    }

    #[test]
    fn a_pair_that_has_nothing_in_common_is_refused() {
        let end = |token| Roles {
            eos: Some(token),
            ..Roles::default()
        };
        let target = vocabulary(&["a", "b", "</s>"], end(2));
        let draft = vocabulary(&["<end>", "x", "y"], end(0));
        let refused = TokenMap::new(&target, &draft).map(|_| ());
        assert_eq!(refused, Err(TranslationError::NothingInCommon));
        let draft = vocabulary(&["<end>", "x", "bcd"], end(0));
        let map = TokenMap::new(&target, &draft).unwrap();
        assert_eq!(
            map.proposable(),
            2,
            "\"b\" begins \"bcd\", and both have an end"
        );
        let one = vocabulary(&["a"], Roles::default());
        let none = vocabulary(&[], Roles::default());
        assert!(TokenMap::new(&one, &one).is_ok());
        assert!(TokenMap::new(&none, &one).is_err());
        assert!(TokenMap::new(&one, &none).is_err());
    }

    #[test]
    fn control_tokens_are_no_text_and_text_is_no_control_token() {
        let roles = |eot| Roles {
            eot,
            ..Roles::default()
        };
        // Both have a token of this name; only one of them ends what is said.
        let target = vocabulary(&["<", ">", "<end>", "a"], roles(Some(2)));
        let draft = vocabulary(&["<end>", "a", "<", ">", "</s>"], roles(Some(4)));
        let map = TokenMap::new(&target, &draft).unwrap();
        assert_eq!(map.draft_of(2), Some(4));
        assert_eq!(map.target_of(0), None);
        assert_eq!(map.pieces(2), Some(&[4][..]));
        // The draft model's text "<end>" is proposed as a text that begins alike.
        let mut row = [f32::NEG_INFINITY; 4];
        map.scatter(&[9.0, 1.0, 2.0, 3.0, 4.0], &mut row);
        assert_eq!(row, [9.0, 3.0, 4.0, 1.0]);
    }

    #[test]
    fn common_tokens_weigh_more_in_a_typical_text() {
        let target = vocabulary(&["a", "ab", "", "x"], Roles::default());
        let draft = vocabulary(&["a", "b"], Roles::default());
        let coverage = *TokenMap::new(&target, &draft).unwrap().coverage();
        assert_eq!((coverage.tokens, coverage.exact), (3, 1));
        assert_eq!(coverage.spelled, 1, "\"x\" is read as a filler");
        assert!((coverage.exact_share() - 1.0 / 3.0).abs() < 1e-6);
        assert!((coverage.spellable_share() - 2.0 / 3.0).abs() < 1e-6);
        let weights = 1.0 + 1.0 / 2.0 + 1.0 / 3.0;
        assert!((coverage.typical_exact - 1.0 / weights).abs() < 1e-6);
        let pieces = (1.0 + 2.0 / 2.0 + 1.0 / 3.0) / weights;
        assert!((coverage.pieces_per_token - pieces).abs() < 1e-6);
    }
}
