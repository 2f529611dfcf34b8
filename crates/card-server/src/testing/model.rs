//! A model that takes its time, and may break down.

use std::time::Duration;

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError};
use card_core::synthetic::Synthetic;

/// A model that takes its time, and breaks down if it is told to.
pub(super) struct PacedModel {
    /// The model that computes.
    pub(super) inner: Synthetic,
    /// What each forward takes.
    pub(super) forward: Duration,
    /// Forwards until it breaks down, if it shall.
    pub(super) left: Option<u64>,
}

impl Logits for PacedModel {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl Model for PacedModel {
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
        if let Some(left) = &mut self.left {
            assert!(*left > 0, "a synthetic breakdown");
            *left -= 1;
        }
        if !self.forward.is_zero() {
            std::thread::sleep(self.forward);
        }
        self.inner.forward(forward)
    }
}
