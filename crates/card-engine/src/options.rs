//! The settings of a running engine.

use std::time::Duration;

use card_core::cost::CostCurve;
use card_core::policy::{Mode, PolicyConfig};
use card_core::protocol::{DraftPlan, Lanes};
use card_core::scheduler::{Learned, Shapes};
use card_core::types::DRAFTERS;

/// Settings of an [`Engine`](crate::Engine).
#[derive(Clone, Debug)]
pub struct Options {
    /// How to schedule.
    pub mode: Mode,
    /// Where the models run: in turns on one lane, or each on a lane of its own.
    pub lanes: Lanes,
    /// Length, in tokens, of the chain that [`Mode::DraftThenVerify`] drafts.
    pub draft_len: u32,
    /// Which shapes of forward the target may run.
    pub shapes: Shapes,
    /// Decode every generation plainly, whatever the mode, until an
    /// [`EngineUpdate`](crate::EngineUpdate) says otherwise: for a target of which nobody knows yet
    /// which shapes of forward give the same logits.
    pub plain_at_first: bool,
    /// Prompt tokens per forward at most; fewer where other generations wait for it.
    pub prefill_rows: usize,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// Children that a drafter proposes for each node.
    pub branch: usize,
    /// How many tokens past the last committed one a drafter drafts.
    pub max_depth: u32,
    /// Time a message between the lanes takes, one way; for emulated devices.
    pub latency: Duration,
    /// Finished sequences whose KV cells are kept for prompts that begin alike (the prefix
    /// cache).
    pub prefix_slots: usize,
    /// Bytes that the saved states of a target with one state per sequence may take; 0 for none.
    pub state_bytes: usize,
    /// Let the model-free sources (prompt lookup, corrections, the prediction) propose
    /// candidates too.
    pub lookup: bool,
    /// What earlier runs learned.
    pub learned: Learned,
    /// Report every candidate of every round, not only counts.
    pub trace: bool,
    /// Decisions of a margin below this, in logits, are reported as near-ties.
    pub near_tie: f32,
    /// A target that takes longer than this over one forward or one step hangs: see
    /// [`Engine::health`](crate::Engine::health).
    pub target_hang: Duration,
    /// A drafter on a lane of its own that takes longer than this over one step hangs, and is
    /// replaced. A drafter on another machine hangs if it says nothing for so long while it
    /// has work.
    pub drafter_hang: Duration,
    /// Pause before a drafter that failed is started again; it doubles with each failure.
    pub drafter_pause: Duration,
    /// Milliseconds of the target's forwards by rows, as far as they are known.
    pub target_cost: CostCurve,
    /// Milliseconds of the target's forwards while no drafter works; `None` if drafters do not
    /// slow the target down.
    pub target_cost_alone: Option<CostCurve>,
    /// Milliseconds of the draft models' forwards by rows, as far as they are known.
    pub draft_costs: [CostCurve; DRAFTERS],
    /// Milliseconds of the forwards of the target's head by rows, as far as they are known.
    pub head_cost: CostCurve,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mode: Mode::Auto,
            lanes: Lanes::Shared,
            draft_len: 4,
            shapes: Shapes::FREE,
            plain_at_first: false,
            prefill_rows: 256,
            cache_bytes: 256 * card_core::cache::BYTES_PER_NODE,
            branch: 4,
            max_depth: 24,
            latency: Duration::ZERO,
            prefix_slots: 1,
            state_bytes: 256 << 20,
            lookup: true,
            learned: Learned::default(),
            trace: false,
            near_tie: 0.05,
            target_hang: Duration::from_secs(120),
            drafter_hang: Duration::from_secs(20),
            drafter_pause: Duration::from_secs(1),
            target_cost: CostCurve::default(),
            target_cost_alone: None,
            draft_costs: Default::default(),
            head_cost: CostCurve::default(),
        }
    }
}

impl Options {
    /// What they ask of a drafter.
    pub fn draft_plan(&self) -> DraftPlan {
        let chain = self.mode == Mode::DraftThenVerify;
        DraftPlan {
            chain: chain.then_some(self.draft_len),
            branch: self.branch,
            max_depth: self.max_depth,
            cache_bytes: self.cache_bytes,
            prefix_slots: self.prefix_slots,
            lanes: self.lanes,
        }
    }

    /// What they ask of the policy.
    pub(crate) fn policy(&self) -> PolicyConfig {
        PolicyConfig {
            mode: self.mode,
            lanes: self.lanes,
            draft_len: self.draft_len,
        }
    }
}
