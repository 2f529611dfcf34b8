//! The texts of a vocabulary in order, to find those that begin a given text.

use super::vocabulary::{TokenKind, Vocabulary};
use crate::types::Token;

/// Most pieces that a token is read as: as many as the longest runs of spaces, and far more than
/// a word has.
const MOST_PIECES: usize = 64;

/// The tokens of a vocabulary that stand for text, in the order of their bytes. It holds one token
/// for each text. Of several tokens with the same bytes that is the one which a model writes: one
/// of kind [`TokenKind::Text`] before one of kind [`TokenKind::Byte`], and among these the one of
/// the smallest number. Four bytes of memory for each token.
pub(super) struct PieceIndex<'a> {
    vocabulary: &'a Vocabulary,
    sorted: Vec<Token>,
}

impl<'a> PieceIndex<'a> {
    /// The index of a vocabulary.
    pub(super) fn new(vocabulary: &'a Vocabulary) -> Self {
        let mut sorted: Vec<Token> = vocabulary.text_tokens().collect();
        let is_byte = |token| vocabulary.kind(token) == Some(TokenKind::Byte);
        sorted.sort_unstable_by(|&a, &b| {
            let bytes = vocabulary.bytes(a).cmp(vocabulary.bytes(b));
            let kinds = is_byte(a).cmp(&is_byte(b));
            bytes.then(kinds).then(a.cmp(&b))
        });
        sorted.dedup_by(|next, kept| vocabulary.bytes(*next) == vocabulary.bytes(*kept));
        PieceIndex { vocabulary, sorted }
    }

    /// One token for each text, in the order of the texts.
    pub(super) fn tokens(&self) -> &[Token] {
        &self.sorted
    }

    /// The bytes of a token.
    pub(super) fn bytes(&self, token: Token) -> &'a [u8] {
        self.vocabulary.bytes(token)
    }

    /// The token with exactly this text.
    pub(super) fn exact(&self, text: &[u8]) -> Option<Token> {
        let found = self.sorted.binary_search_by(|&t| self.bytes(t).cmp(text));
        found.ok().map(|at| self.sorted[at])
    }

    /// The longest token that `text` begins with. One binary search for each byte of the token.
    pub(super) fn longest(&self, text: &[u8]) -> Option<Token> {
        let mut longest = None;
        // Those that begin with the bytes of `text` that were looked at.
        let mut range = &self.sorted[..];
        for (depth, &byte) in text.iter().enumerate() {
            // A token that ends here has no byte, and comes before those that go on.
            let next = |token: Token| self.bytes(token).get(depth).copied();
            let start = range.partition_point(|&t| next(t) < Some(byte));
            let end = range.partition_point(|&t| next(t) <= Some(byte));
            range = &range[start..end];
            let Some(&first) = range.first() else {
                break;
            };
            if self.bytes(first).len() == depth + 1 {
                longest = Some(first);
            }
        }
        longest
    }

    /// Appends the tokens that spell `text`, each the longest there is from where the one before
    /// ends. Appends nothing and returns `false` if some byte is in no token that fits, or there
    /// would be more than [`MOST_PIECES`].
    pub(super) fn spell(&self, mut text: &[u8], pieces: &mut Vec<Token>) -> bool {
        let start = pieces.len();
        while !text.is_empty() {
            let room = pieces.len() - start < MOST_PIECES;
            let Some(piece) = self.longest(text).filter(|_| room) else {
                pieces.truncate(start);
                return false;
            };
            pieces.push(piece);
            text = &text[self.bytes(piece).len()..];
        }
        pieces.len() > start
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::Roles;
    use super::*;

    fn vocabulary(tokens: &[(&str, TokenKind)]) -> Vocabulary {
        Vocabulary::new(tokens.iter().copied(), Roles::default()).unwrap()
    }

    #[test]
    fn the_longest_token_that_begins_a_text_is_found() {
        let texts = ["b", "a", "abcd", "ab", "bc", "", "abce"];
        let vocabulary = vocabulary(&texts.map(|t| (t, TokenKind::Text)));
        let index = PieceIndex::new(&vocabulary);
        let longest = |text: &str| index.longest(text.as_bytes());
        assert_eq!(longest("abcd"), Some(2));
        assert_eq!(longest("abcx"), Some(3), "\"abc\" is no token");
        assert_eq!(longest("ac"), Some(1));
        assert_eq!(longest("bbc"), Some(0));
        assert_eq!(longest("c"), None);
        assert_eq!(longest(""), None);
        assert_eq!(index.exact(b"bc"), Some(4));
        assert_eq!(index.exact(b"abc"), None);
        assert_eq!(index.exact(b""), None);
    }

    #[test]
    fn of_several_tokens_with_one_text_that_is_taken_which_models_write() {
        let vocabulary = vocabulary(&[
            ("a", TokenKind::Byte),
            ("a", TokenKind::Control),
            ("a", TokenKind::Text),
            ("a", TokenKind::Text),
        ]);
        let index = PieceIndex::new(&vocabulary);
        assert_eq!(index.tokens(), [2]);
    }

    #[test]
    fn a_text_is_spelt_whole_or_not_at_all() {
        let texts = ["a", "ab", "c"];
        let vocabulary = vocabulary(&texts.map(|t| (t, TokenKind::Text)));
        let index = PieceIndex::new(&vocabulary);
        let mut pieces = vec![7];
        assert!(index.spell(b"aabc", &mut pieces));
        assert_eq!(pieces, [7, 0, 1, 2]);
        assert!(!index.spell(b"acx", &mut pieces));
        assert!(!index.spell(b"", &mut pieces));
        assert!(!index.spell(&[b'a'; MOST_PIECES + 1], &mut pieces));
        assert_eq!(pieces, [7, 0, 1, 2]);
        assert!(index.spell(&[b'a'; MOST_PIECES], &mut pieces));
    }
}
