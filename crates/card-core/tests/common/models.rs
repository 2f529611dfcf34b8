//! Made-up models that check what they are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use card_core::forward::{Forward, HiddenRow, KvOp, Limits, Logits, Model, ModelError};
use card_core::synthetic::Synthetic;

/// Positions of the hidden states that the target kept, by sequence.
pub type KeptStates = Arc<Mutex<BTreeMap<u64, BTreeSet<u32>>>>;

/// A head that checks that the target kept what it reads. What it proposes comes of the text, as the
/// target's hidden states do.
pub struct SyntheticHead {
    pub inner: Synthetic,
    pub kept: KeptStates,
    /// The target reads every token of every sequence itself.
    pub knows_all: bool,
}

impl Logits for SyntheticHead {
    fn row(&self, i: usize) -> &[f32] {
        self.inner.row(i)
    }
}

impl Model for SyntheticHead {
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
        let kept = self.kept.lock().unwrap();
        for row in forward.rows.iter().filter(|r| r.position > 0) {
            let kept = kept.get(&row.sequence.0);
            let last = kept.and_then(|k| k.last().copied()).unwrap_or(0);
            let committed = row.position <= last + 1;
            if self.knows_all && committed {
                let there = kept.is_some_and(|k| k.contains(&(row.position - 1)));
                assert!(there, "no state behind {}", row.position - 1);
            }
        }
        drop(kept);
        self.inner.forward(forward)
    }
}

/// A target that checks what it is asked for.
pub struct Checked {
    pub inner: Synthetic,
    /// Most rows of a forward that only decodes.
    pub max_rows: usize,
    /// The last forward.
    pub last: Forward,
    /// Whether it has a head.
    pub head: bool,
    pub kept: KeptStates,
    /// Whether it was told that the drafters on other lanes rest.
    pub drafters_rest: Arc<AtomicBool>,
    /// Logits depend on where a forward ends, padding included: in which block of so many cells.
    /// 0 if they do not.
    pub cell_block: usize,
    /// Logits of the last forward that do, by rows.
    pub moved: BTreeMap<usize, Vec<f32>>,
}

impl Checked {
    /// Moves the logits of the last forward by the block in which it ends.
    fn move_logits(&mut self) {
        self.moved.clear();
        let forward = &self.last;
        let Some(first) = forward.rows.iter().map(|r| r.position as usize).min() else {
            return;
        };
        let rows = forward.rows.len().max(forward.pad_to);
        let block = (first + rows).div_ceil(self.cell_block);
        let with_logits = forward.rows.iter().enumerate().filter(|(_, r)| r.logits);
        for (i, row) in with_logits {
            let mut logits = self.inner.row(i).to_vec();
            let favoured = (31 * block + 7 * row.position as usize) % logits.len();
            logits[favoured] += 2.0;
            self.moved.insert(i, logits);
        }
    }
}

impl Logits for Checked {
    fn row(&self, i: usize) -> &[f32] {
        match self.moved.get(&i) {
            Some(logits) => logits,
            None => self.inner.row(i),
        }
    }
}

impl Model for Checked {
    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn vocab(&self) -> usize {
        self.inner.vocab()
    }

    fn state_bytes(&self) -> Option<usize> {
        self.inner.state_bytes()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        joins_in_order(&op, &self.last);
        self.inner.apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        assert!(forward.rows.len().max(forward.pad_to) <= self.limits().rows);
        let decodes = forward.rows.iter().all(|r| r.logits);
        assert!(!decodes || forward.rows.len() <= self.max_rows);
        self.last = forward.clone();
        self.inner.forward(forward)?;
        if self.cell_block > 0 {
            self.move_logits();
        }
        Ok(())
    }

    fn drafters_rest(&mut self, rest: bool) {
        let before = self.drafters_rest.swap(rest, Ordering::Relaxed);
        assert_ne!(before, rest, "it is told of changes only");
    }

    fn keeps_hidden(&self) -> bool {
        self.head
    }

    fn keep_hidden(&mut self, rows: &[HiddenRow]) {
        assert!(self.head, "there is nobody to keep them for");
        let mut kept = self.kept.lock().unwrap();
        for hidden in rows {
            let row = &self.last.rows[hidden.row];
            let named = (hidden.sequence, hidden.position);
            assert_eq!((row.sequence, row.position), named);
            let states = kept.entry(hidden.sequence.0).or_default();
            states.insert(hidden.position);
        }
    }
}

/// The rows that join the target's stem lie side by side in the order of their positions:
/// so do their KV cells, and attention sums in the order of plain decoding.
fn joins_in_order(op: &KvOp, last: &Forward) {
    let KvOp::Commit { sequence, tip, .. } = *op else {
        return;
    };
    let mut rows = last.rows.iter().filter(|r| r.sequence == sequence);
    let mut previous = None;
    while previous != Some(tip) {
        let row = rows.next().expect("the tip is a row of the forward before");
        assert_eq!(row.parent, previous, "a side branch joins the stem");
        previous = Some(row.cell);
    }
}
