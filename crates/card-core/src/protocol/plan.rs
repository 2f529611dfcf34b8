//! How a target wants a drafter to draft.

use super::outlook::Lanes;

/// What a target asks of a drafter, wherever that runs.
///
/// ```
/// use card_core::forward::{Limits, Rollback};
/// use card_core::protocol::{DraftPlan, Lanes};
/// use card_core::types::Source;
///
/// let plan = DraftPlan {
///     chain: None,
///     branch: 4,
///     max_depth: 24,
///     cache_bytes: 1 << 20,
///     prefix_slots: 2,
///     lanes: Lanes::Disjoint,
/// };
/// let limits = Limits {
///     context: 4096,
///     cells: 8192,
///     rows: 64,
///     leaves: 16,
///     rollback: Rollback::Free,
/// };
/// let config = plan.config(Source::Draft, limits, 32_000);
/// assert_eq!(config.branch, 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DraftPlan {
    /// Length of a single chain; `None` asks for a tree.
    pub chain: Option<u32>,
    /// Children proposed for each node of a tree.
    pub branch: usize,
    /// How far past the last committed token a tree goes.
    pub max_depth: u32,
    /// Bytes of candidates per sequence.
    pub cache_bytes: usize,
    /// Finished sequences whose KV cells are kept for prompts that begin alike.
    pub prefix_slots: usize,
    /// Whether the drafter's time is its own or the target's too.
    pub lanes: Lanes,
}
