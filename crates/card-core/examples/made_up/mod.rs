//! Made-up models and plain settings, for the examples and the benches.

use card_core::cost::CostCurve;
use card_core::drafter::Drafter;
use card_core::forward::{Limits, Rollback};
use card_core::policy::{Mode, Policy, PolicyConfig};
use card_core::protocol::{DraftPlan, Lanes};
use card_core::sampler::Sampling;
use card_core::scheduler::{Learned, Request, Scheduler, SchedulerConfig, Shapes};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{SequenceId, Source, Tenant};

/// Number of tokens the models know.
pub const VOCAB: usize = 32;
/// What one forward of each model can take.
pub const LIMITS: Limits = Limits {
    context: 4096,
    cells: 1 << 20,
    rows: 256,
    leaves: 256,
    rollback: Rollback::Free,
};
/// A sequence, for those who need one only.
pub const SEQUENCE: SequenceId = SequenceId(1);
/// Bytes of candidates per sequence.
const CACHE_BYTES: usize = 1 << 15;

/// A model. Without noise it is the target; with more noise it agrees less often with that.
pub fn model(noise: f32) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed: 5,
        spread: 2.0,
        noise,
        noise_seed: 99,
        limits: LIMITS,
    })
}

/// A scheduler for a target whose forwards take 10 ms and little more with many rows, beside a
/// drafter whose forwards take 1 ms.
pub fn scheduler(mode: Mode, lanes: Lanes) -> Scheduler {
    let policy = PolicyConfig {
        mode,
        lanes,
        draft_len: 4,
    };
    let target = CostCurve::from_points([(1, 10.0), (8, 12.0), (256, 40.0)]);
    let draft = CostCurve::from_points([(1, 1.0), (16, 1.5)]);
    let policy = Policy::new(policy, target, [draft, CostCurve::default()]);
    let config = SchedulerConfig {
        limits: LIMITS,
        vocab: VOCAB,
        shapes: Shapes::FREE,
        prefill_rows: 64,
        cache_bytes: CACHE_BYTES,
        prefix_slots: 0,
        lookup: false,
        trace: false,
        near_tie: 0.0,
    };
    Scheduler::new(config, policy, Learned::default())
}

/// A drafter for such a target.
pub fn drafter(lanes: Lanes) -> Drafter {
    let plan = DraftPlan {
        chain: None,
        branch: 4,
        max_depth: 8,
        cache_bytes: CACHE_BYTES,
        prefix_slots: 0,
        lanes,
    };
    let costs = CostCurve::from_points([(1, 1.0), (16, 1.5)]);
    Drafter::new(plan.config(Source::Draft, LIMITS, VOCAB), costs)
}

/// A request for so many tokens after a short prompt, greedily.
pub fn request(sequence: SequenceId, max_tokens: u32) -> Request {
    Request {
        sequence,
        prompt: vec![3, 1, 4, 1, 5],
        tenant: Tenant::SHARED,
        params: Sampling::default(),
        max_tokens,
        stop_tokens: Vec::new(),
        prediction: Vec::new(),
        logprobs: None,
        constraint: None,
        plain: false,
        most_candidates: None,
    }
}
