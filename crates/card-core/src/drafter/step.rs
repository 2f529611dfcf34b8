//! The books of one forward of the draft model.

use std::time::Duration;

use crate::cache::NodeId;
use crate::forward::{KvCell, Row};
use crate::types::SequenceId;

/// A forward of the draft model while it is put together and while it runs.
///
/// Invariant: either sequences catch up (their committed tokens are decoded) or nodes are
/// expanded; nodes that are expanded have rows of this forward.
#[derive(Default)]
pub(super) struct DraftStep {
    /// When the forward began, on the drafter's clock.
    pub(super) started: Duration,
    /// The rows, until the model gets them.
    pub(super) rows: Vec<Row>,
    /// The rows whose logits become children of a node.
    pub(super) expand: Vec<ExpandRow>,
    /// The sequences whose stem grows.
    pub(super) caught_up: Vec<CaughtUp>,
}

/// A row that is looked past: its logits become children of a node.
pub(super) struct ExpandRow {
    pub(super) sequence: SequenceId,
    /// Index of the row in the forward.
    pub(super) row: usize,
    /// The node in the sequence's replica.
    pub(super) node: NodeId,
}

/// A sequence whose stem grows by committed tokens.
pub(super) struct CaughtUp {
    pub(super) sequence: SequenceId,
    /// New end of the stem.
    pub(super) tip: KvCell,
    /// Tokens by which the stem grows.
    pub(super) count: usize,
}

impl DraftStep {
    /// A forward without a row.
    pub(super) fn begin(now: Duration) -> Self {
        DraftStep {
            started: now,
            ..DraftStep::default()
        }
    }

    /// The logits of the row added last become children of `node`.
    pub(super) fn expand_last(&mut self, sequence: SequenceId, node: NodeId) {
        self.expand.push(ExpandRow {
            sequence,
            row: self.rows.len() - 1,
            node,
        });
    }
}
