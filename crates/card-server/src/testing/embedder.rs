//! A model that makes vectors of bytes.

use std::time::Duration;

use card_core::types::Token;

use crate::text::{Embedder, VectorKind};

/// Numbers of a vector.
const WIDTH: usize = 4;
/// What stands between a question and a document.
const BETWEEN: Token = 257;

/// A model that makes vectors of the tokens of [`ByteTokenizer`](super::ByteTokenizer): the vector of
/// a token says which it is and where it stands, that of a text is their sum, and the score of a
/// question and a document is how many bytes they have in common.
pub(super) struct ByteEmbedder {
    pub(super) kind: VectorKind,
    pub(super) context: u32,
    /// What each text takes.
    pub(super) forward: Duration,
}

impl ByteEmbedder {
    fn vector(position: usize, token: Token) -> Vec<f32> {
        let place = position as f32;
        vec![token as f32, place, 1.0, token as f32 * place]
    }

    /// How many of the document's bytes the question has.
    fn score(tokens: &[Token]) -> f32 {
        let mut parts = tokens.split(|&token| token == BETWEEN);
        let query = parts.next().unwrap_or_default();
        let document = parts.next().unwrap_or_default();
        let common = document.iter().filter(|token| query.contains(token));
        common.count() as f32
    }
}

impl Embedder for ByteEmbedder {
    fn kind(&self) -> VectorKind {
        self.kind
    }

    fn width(&self) -> usize {
        match self.kind {
            VectorKind::Score => 1,
            _ => WIDTH,
        }
    }

    fn context(&self) -> u32 {
        self.context
    }

    fn embed(&self, tokens: &[Token]) -> Result<Vec<Vec<f32>>, String> {
        if !self.forward.is_zero() {
            std::thread::sleep(self.forward);
        }
        let each = tokens.iter().enumerate();
        let each = each.map(|(position, &token)| Self::vector(position, token));
        Ok(match self.kind {
            VectorKind::OfTokens => each.collect(),
            VectorKind::Score => vec![vec![Self::score(tokens)]],
            VectorKind::OfText => {
                let add = |sum: Vec<f32>, vector: Vec<f32>| {
                    sum.iter().zip(&vector).map(|(a, b)| a + b).collect()
                };
                vec![each.fold(vec![0.0; WIDTH], add)]
            }
        })
    }

    fn pair(&self, query: &str, document: &str) -> Result<Vec<Token>, String> {
        let bytes = |text: &str| text.bytes().map(Token::from).collect::<Vec<_>>();
        Ok([bytes(query), vec![BETWEEN], bytes(document)].concat())
    }
}
