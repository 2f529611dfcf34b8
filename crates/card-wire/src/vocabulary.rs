//! The vocabulary that both sides of a link share.

/// The vocabulary that both sides share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedVocabulary {
    /// A hash of all tokens, which is equal on both sides.
    pub fingerprint: u64,
    /// The number of tokens; every token's id is below it.
    pub tokens: u32,
}

impl SharedVocabulary {
    /// The first of these tokens that is not in the vocabulary.
    pub(crate) fn foreign(self, tokens: &[u32]) -> Option<u32> {
        tokens.iter().copied().find(|&t| t >= self.tokens)
    }
}
