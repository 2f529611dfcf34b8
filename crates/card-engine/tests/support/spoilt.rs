//! A draft model that is often wrong, for the tests and the measuring examples.

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError, Row};
use card_core::sampler::gumbel;
use card_core::types::Token;
use card_llama::LlamaContext;

/// A draft model whose logits are noise at a share of the positions.
pub struct Spoilt {
    inner: LlamaContext,
    /// 0 spoils nothing, 1 everything.
    share: f32,
    rows: Vec<Option<Vec<f32>>>,
}

impl Spoilt {
    /// Spoils a share of what this one says.
    pub fn new(inner: LlamaContext, share: f32) -> Self {
        Spoilt {
            inner,
            share,
            rows: Vec::new(),
        }
    }
}

impl Logits for Spoilt {
    fn row(&self, i: usize) -> &[f32] {
        match &self.rows[i] {
            Some(row) => row,
            None => self.inner.row(i),
        }
    }
}

impl Model for Spoilt {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn vocab(&self) -> usize {
        self.inner.vocab()
    }
    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }
    fn reset(&mut self) -> Result<(), ModelError> {
        self.inner.reset()
    }
    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.inner.forward(forward)?;
        let words = self.inner.vocab() as Token;
        let spoil = |row: &Row| -> Option<Vec<f32>> {
            // Uniform in [0, 1), from noise that is a function of the row.
            let u = (-(-gumbel(7, row.position, row.token)).exp()).exp();
            let noise = || (0..words).map(|t| gumbel(9, row.position, t)).collect();
            (row.logits && u < self.share).then(noise)
        };
        self.rows = forward.rows.iter().map(spoil).collect();
        Ok(())
    }
}
