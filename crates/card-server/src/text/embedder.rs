//! What the server asks of a model that makes vectors of texts.

use card_core::types::Token;

/// What a model makes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorKind {
    /// A vector for each token.
    OfTokens,
    /// One vector.
    OfText,
    /// A score of a question and a document, one number.
    Score,
}

/// A model that makes vectors of texts, and writes none.
pub trait Embedder: Send + Sync {
    /// What it makes of a text.
    fn kind(&self) -> VectorKind;

    /// Numbers of a vector.
    fn width(&self) -> usize;

    /// Most tokens of a text.
    fn context(&self) -> u32;

    /// The vectors of a text: one, or one for each token. They are as the model gives them, and
    /// depend on nothing else that was asked.
    ///
    /// # Errors
    /// Says why there are none, for the operator.
    fn embed(&self, tokens: &[Token]) -> Result<Vec<Vec<f32>>, String>;

    /// A question and a document as the one text of which there is a score.
    ///
    /// # Errors
    /// Says why they cannot be tokenized, for the client.
    fn pair(&self, query: &str, document: &str) -> Result<Vec<Token>, String>;
}
