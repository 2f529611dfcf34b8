//! Settings of the scheduler.

use crate::forward::Limits;

/// Which shapes of forward may be used, so that results do not depend on them
/// (docs/exactness.md).
///
/// ```
/// use card_core::scheduler::Shapes;
///
/// let one_at_a_time = Shapes { alone: true, chain_only: true, ..Shapes::FREE };
/// assert_eq!(one_at_a_time.max_rows, usize::MAX);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shapes {
    /// Every decoding forward is padded to at least this many rows.
    pub pad_to: usize,
    /// No decoding forward has more rows.
    pub max_rows: usize,
    /// Verify chains only: the branches of a tree move KV cells, and with them the order
    /// of sums.
    pub chain_only: bool,
    /// One sequence per forward.
    pub alone: bool,
    /// Decisions of a margin below this (in logits, [`Choice`](crate::sampler::Choice)) are
    /// made again by a forward of their own.
    pub redecide_below: Option<f32>,
    /// Rows of that forward: one is the sequence's, the rest is padding. A single row may take
    /// kernels that depend on what else is in the KV cache.
    pub redecide_rows: usize,
    /// A prompt is read in forwards of its own, taking turns with what decodes.
    pub prefill_alone: bool,
    /// A prompt is read in the same pieces whoever decodes beside it, since what it leaves in
    /// the KV cache depends on them.
    #[serde(default)]
    pub whole_pieces: bool,
}

impl Shapes {
    /// No restriction.
    pub const FREE: Shapes = Shapes {
        pad_to: 0,
        max_rows: usize::MAX,
        chain_only: false,
        alone: false,
        redecide_below: None,
        redecide_rows: 1,
        prefill_alone: false,
        whole_pieces: false,
    };
}

/// Settings of a [`Scheduler`](super::Scheduler).
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    /// What one forward of the target can take.
    pub limits: Limits,
    /// Size of the target's vocabulary.
    pub vocab: usize,
    /// Which forwards are allowed.
    pub shapes: Shapes,
    /// Prompt tokens decoded per forward at most; fewer where others wait for it.
    pub prefill_rows: usize,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// Finished sequences whose KV cells are kept for a prompt that starts alike.
    pub prefix_slots: usize,
    /// Let the model-free sources (prompt lookup, corrections, the prediction) propose
    /// candidates too (see [`crate::sources`]).
    pub lookup: bool,
    /// Report the candidates of every round, not only counts.
    pub trace: bool,
    /// Decisions of a margin below this (in logits, [`Choice`](crate::sampler::Choice)) are
    /// reported as near-ties.
    pub near_tie: f32,
}
