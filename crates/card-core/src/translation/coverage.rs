//! How much of the target's vocabulary a draft model can read and propose.

use super::exact::ExactPairs;
use super::piece_index::PieceIndex;
use super::reading::TokenReading;
use super::vocabulary::{TokenKind, Vocabulary};
use crate::types::Token;

/// How much of the target's vocabulary a draft model can read and propose, to refuse a pair that
/// is not worth trying.
///
/// Only tokens of kind [`TokenKind::Text`] with bytes count. A *typical* figure weighs the n-th of
/// them with 1/n: tokenizers number the tokens as they are learned, the most common first, and
/// how often words occur falls about so (Zipf's law). It is an estimate for a text of which
/// nothing is known; of a text in another language than the draft model's it says little.
///
/// ```
/// use card_core::translation::{Roles, TokenKind, TokenMap, Vocabulary};
///
/// let text = |tokens: &[&'static str]| {
///     let tokens = tokens.iter().map(|&t| (t, TokenKind::Text));
///     Vocabulary::new(tokens, Roles::default())
/// };
/// let map = TokenMap::new(&text(&["a", "b", "abc"])?, &text(&["c", "b", "ab", "a"])?)?;
/// // Of the target's three tokens the draft model has "a" and "b"; it reads "abc" as "ab" and "c".
/// let coverage = map.coverage();
/// assert_eq!((coverage.tokens, coverage.exact, coverage.spelled), (3, 2, 1));
/// # Ok::<(), card_core::translation::TranslationError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VocabularyCoverage {
    /// Target tokens that count.
    pub tokens: usize,
    /// Of these, the tokens that the draft model has too.
    pub exact: usize,
    /// Of these, the tokens that the draft model has not, but can read piece by piece.
    pub spelled: usize,
    /// Share of a typical text's tokens that the draft model has too.
    pub typical_exact: f32,
    /// Draft tokens that a typical target token is read as; at least 1.
    pub pieces_per_token: f32,
}

impl VocabularyCoverage {
    /// Share of the target's tokens that the draft model has too.
    pub fn exact_share(&self) -> f32 {
        self.share(self.exact)
    }

    /// Share of the target's tokens that the draft model can read as the text they stand for.
    pub fn spellable_share(&self) -> f32 {
        self.share(self.exact + self.spelled)
    }

    fn share(&self, of: usize) -> f32 {
        of as f32 / self.tokens.max(1) as f32
    }

    /// The figures of a reading, where `texts` are those of the draft model.
    pub(super) fn of(
        target: &Vocabulary,
        texts: &PieceIndex,
        reading: &TokenReading,
        pairs: &ExactPairs,
    ) -> Self {
        let mut coverage = VocabularyCoverage {
            tokens: 0,
            exact: 0,
            spelled: 0,
            typical_exact: 0.0,
            pieces_per_token: 1.0,
        };
        let (mut weights, mut exact, mut pieces) = (0.0, 0.0, 0.0);
        let is_plain = |&token: &Token| target.kind(token) == Some(TokenKind::Text);
        for token in target.text_tokens().filter(is_plain) {
            coverage.tokens += 1;
            let weight = 1.0 / coverage.tokens as f64;
            weights += weight;
            let read = reading.of(token).unwrap_or_default();
            pieces += weight * read.len() as f64;
            if pairs.draft_of(token).is_some() {
                coverage.exact += 1;
                exact += weight;
            } else if spells(read, target.bytes(token), texts) {
                coverage.spelled += 1;
            }
        }
        if coverage.tokens > 0 {
            coverage.typical_exact = (exact / weights) as f32;
            coverage.pieces_per_token = (pieces / weights) as f32;
        }
        coverage
    }
}

/// Whether the pieces stand for this text, and not for what cannot be read.
fn spells(pieces: &[Token], text: &[u8], texts: &PieceIndex) -> bool {
    let read = pieces.iter().flat_map(|&piece| texts.bytes(piece));
    read.eq(text)
}
