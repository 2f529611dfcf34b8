//! The self-test on models whose logits depend on what they should not.

#![allow(clippy::unwrap_used)]

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError, Rollback};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::Token;

use super::means::Means;
use super::report::SelfTestReport;
use super::run::{HEADS, SIZES, costs, run};

/// A model whose logits depend on what they should not.
struct Touchy {
    inner: Synthetic,
    /// Forwards of so many rows and more give other logits.
    from_rows: usize,
    /// So do forwards of several sequences.
    others: bool,
    moved: Vec<Option<Vec<f32>>>,
}

impl Logits for Touchy {
    fn row(&self, i: usize) -> &[f32] {
        match &self.moved[i] {
            Some(row) => row,
            None => self.inner.row(i),
        }
    }
}

impl Model for Touchy {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn vocab(&self) -> usize {
        self.inner.vocab()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        self.inner.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.inner.forward(forward)?;
        let first = forward.rows[0].sequence;
        let several = forward.rows.iter().any(|r| r.sequence != first);
        let rows = forward.rows.len().max(forward.pad_to);
        let moves = rows >= self.from_rows || (several && self.others);
        let moved = |i: usize| -> Vec<f32> {
            let row = self.inner.row(i).iter().enumerate();
            // The first token gains on the others.
            row.map(|(t, l)| if t == 0 { l + 0.5 } else { *l })
                .collect()
        };
        self.moved = (0..forward.rows.len())
            .map(|i| (moves && forward.rows[i].logits).then(|| moved(i)))
            .collect();
        Ok(())
    }
}

fn touchy(from_rows: usize, others: bool, cells: usize) -> Touchy {
    touchy_with(from_rows, others, cells, Rollback::Free)
}

fn touchy_with(from_rows: usize, others: bool, cells: usize, rollback: Rollback) -> Touchy {
    let config = SyntheticConfig {
        vocab: 23,
        seed: 5,
        spread: 2.0,
        noise: 0.0,
        noise_seed: 0,
        limits: Limits {
            context: 256,
            cells,
            rows: 128,
            leaves: 16,
            rollback,
        },
    };
    Touchy {
        inner: Synthetic::new(config),
        from_rows,
        others,
        moved: Vec::new(),
    }
}

fn passage() -> Vec<Token> {
    (0..40).map(|i| (i * 7 + i / 3) % 23).collect()
}

fn test(model: &mut dyn Model) -> SelfTestReport {
    run(model, &passage(), &HEADS, &mut |done, all| {
        assert!(done <= all, "{done} of {all}");
    })
    .unwrap()
}

const NEVER: usize = usize::MAX;

#[test]
fn a_model_that_gives_the_same_logits_always_is_found_to() {
    let report = test(&mut touchy(NEVER, false, 512));
    assert!(report.trees && report.prompts && report.others && !report.single);
    assert_eq!(report.exact_rows(), 32);
    assert_eq!(report.means(), Means::AnyShape);
    assert_eq!(report.margin_bound(), 0.0);
    // The cache is free again.
    let mut model = touchy(NEVER, false, 512);
    assert_eq!(test(&mut model).means(), test(&mut model).means());
}

#[test]
fn other_logits_in_large_forwards_show_in_sizes_and_prompts() {
    let report = test(&mut touchy(8, false, 512));
    assert_eq!(report.exact_rows(), 7);
    // One forward is large, single rows are not.
    assert!(!report.prompts);
    let large = report.sizes.iter().find(|s| s.rows == 8).unwrap();
    assert!((large.max_diff - 0.5).abs() < 1e-5 && large.margin_shift <= 0.5 + 1e-5);
    assert!(report.margin_bound() >= 4.0 * large.margin_shift);
    // Only prompts are larger than what is tried otherwise.
    let report = test(&mut touchy(33, false, 512));
    assert_eq!(report.exact_rows(), 32);
    assert!(!report.prompts && report.others);
    assert_ne!(report.means(), Means::AnyShape);
}

#[test]
fn other_logits_among_others_show_and_are_not_looked_for_where_there_is_no_room() {
    let report = test(&mut touchy(NEVER, true, 512));
    assert!(report.prompts && !report.others && !report.single);
    assert_ne!(report.means(), Means::AnyShape);
    // The head of 8 tokens and twice the passage need 88 cells.
    let report = test(&mut touchy(NEVER, true, 87));
    assert!(report.single && !report.others);
    assert_eq!(report.means(), Means::AnyShape);
}

#[test]
fn a_model_that_cannot_take_back_any_token_is_tested_by_what_it_can() {
    for rollback in [Rollback::Checkpoint, Rollback::Bounded { rows: 4 }] {
        let report = test(&mut touchy_with(NEVER, false, 512, rollback));
        assert_eq!(report.means(), Means::AnyShape);
        let report = test(&mut touchy_with(8, false, 512, rollback));
        assert_eq!(report.exact_rows(), 7);
        let report = test(&mut touchy_with(NEVER, true, 512, rollback));
        assert!(!report.others && report.trees);
        let mut model = touchy_with(NEVER, false, 512, rollback);
        let report = costs(&mut model, &passage(), &mut |_, _| {}).unwrap();
        assert_eq!(report.sizes.len(), SIZES.len());
    }
}

#[test]
fn costs_promise_nothing() {
    let report = costs(&mut touchy(NEVER, false, 512), &passage(), &mut |_, _| {}).unwrap();
    assert!(report.trees && !report.prompts && !report.others && !report.single);
    assert_eq!(report.exact_rows(), 32);
    assert_ne!(report.means(), Means::AnyShape);
    assert_eq!(report.sizes.len(), SIZES.len());
}
