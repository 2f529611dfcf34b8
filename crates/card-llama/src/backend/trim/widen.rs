//! A context of a trimmed model, made to look like one of the whole.

use std::collections::HashMap;
use std::sync::Arc;

use card_core::forward::{ModelError, Row};
use card_core::types::Token;

use super::trimmed::Trimmed;

/// Makes a context of a trimmed model look like one of the whole: takes all tokens in, and
/// gives logits for all of the vocabulary, minus infinity for those that are left out.
///
/// A rare token that was read comes again more often than not. So the last [`SEEN`] of them
/// get logits too, from the last hidden state and their row of the whole output layer.
pub(crate) struct Widener {
    of: Arc<Trimmed>,
    /// Wide rows: one for each row with logits of the last forward, then unused ones.
    rows: Vec<Vec<f32>>,
    /// The wide row of a row of the forward.
    place: HashMap<usize, usize>,
    /// Rare tokens that were read, at most [`SEEN`], and their rows of the output layer.
    seen: Vec<(Token, Vec<f32>)>,
    /// The rare token that gives way to the next.
    oldest: usize,
}

/// Rare tokens that are remembered: a tenth of a millisecond for each row of logits.
const SEEN: usize = 512;
/// Most rows of a forward whose hidden states are asked for, since logits come with them.
const FEW_ROWS: usize = 16;

impl Widener {
    /// For contexts of this trimmed model.
    pub(crate) fn new(of: Arc<Trimmed>) -> Self {
        Widener {
            of,
            rows: Vec::new(),
            place: HashMap::new(),
            seen: Vec::new(),
            oldest: 0,
        }
    }

    /// Length of an embedding and of a hidden state.
    fn width(&self) -> usize {
        self.of.input.width()
    }

    /// Whether a forward of these rows should give hidden states: not when it reads a prompt.
    pub(crate) fn wants_hidden(rows: &[Row]) -> bool {
        rows.len() <= FEW_ROWS || rows.iter().all(|r| r.logits)
    }

    /// Writes the embeddings of tokens, one behind the other.
    ///
    /// # Errors
    /// If the original file cannot be read.
    pub(crate) fn embed(
        &mut self,
        tokens: impl Iterator<Item = Token>,
        into: &mut [f32],
    ) -> Result<(), ModelError> {
        self.place.clear();
        for (token, into) in tokens.zip(into.chunks_mut(self.width())) {
            self.of
                .input
                .read(token, into)
                .and_then(|()| self.remember(token))
                .map_err(|e| ModelError::Failed(format!("cannot read an embedding: {e}")))?;
            for value in into {
                *value *= self.of.scale;
            }
        }
        Ok(())
    }

    /// Reads a rare token's row of the output layer, so that it gets logits from now on.
    fn remember(&mut self, token: Token) -> std::io::Result<()> {
        let known = self.of.tokens.binary_search(&token).is_ok();
        if known || self.seen.iter().any(|s| s.0 == token) {
            return Ok(());
        }
        let mut weights = vec![0.0; self.of.output.width()];
        self.of.output.read(token, &mut weights)?;
        if self.seen.len() < SEEN {
            self.seen.push((token, weights));
            return Ok(());
        }
        let (gone, _) = std::mem::replace(&mut self.seen[self.oldest], (token, weights));
        self.oldest = (self.oldest + 1) % SEEN;
        for row in &mut self.rows {
            row[gone as usize] = f32::NEG_INFINITY;
        }
        Ok(())
    }

    /// Takes the logits of row `i` of the forward, and its hidden state if there is one.
    pub(crate) fn put(&mut self, i: usize, logits: &[f32], hidden: Option<&[f32]>) {
        let place = self.place.len();
        self.place.insert(i, place);
        if place == self.rows.len() {
            let whole = self.of.vocab.len();
            self.rows.push(vec![f32::NEG_INFINITY; whole]);
        }
        let row = &mut self.rows[place];
        for (&token, &logit) in self.of.tokens.iter().zip(logits) {
            row[token as usize] = logit;
        }
        for (token, weights) in &self.seen {
            row[*token as usize] = hidden.map_or(f32::NEG_INFINITY, |h| dot(h, weights));
        }
    }

    /// Logits of row `i` of the last forward.
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        self.place.get(&i).map_or(&[], |&place| &self.rows[place])
    }
}

/// The product of two vectors, summed in lanes so that it becomes vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
