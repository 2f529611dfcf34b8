//! How a context is set up, and how much it has room for: sequence ids, states, cells, rows.

use card_core::forward::{Limits, Rollback};

use super::cores::Cores;
use super::kv::books::MemoryKind;
use super::kv::cache::own_ids;
use crate::sys::context::most_ids;
use crate::sys::kv_shape::KvShape;

/// How to set up a context.
#[derive(Clone, Debug)]
pub struct ContextOptions {
    /// "target" or "draft", for messages. Of a model that keeps a state per sequence id, a draft
    /// model keeps one for each drafted token; a target keeps what llama.cpp can leave out of a
    /// forward, if the model can do that.
    pub role: &'static str,
    /// Most tokens of one sequence.
    pub context: u32,
    /// Sequences that the context must hold at full length.
    pub sequences: u32,
    /// KV cells beyond that, for candidates.
    pub spare_cells: u32,
    /// Most rows of a forward.
    pub rows: u32,
    /// Keep the cells of each sequence in the order of their positions, whatever the others
    /// do, so that attention sums as if it were alone (docs/exactness.md). A recurrent model
    /// without attention has no cells.
    pub in_order: bool,
    /// The cores of the lane that the context runs on.
    pub cores: Cores,
}

/// Leaves of the trees of all sequences; each takes a sequence id of llama.cpp.
const LEAVES: usize = 64;
/// Rows that can be left out of a target's forward, where the model can do that. Each takes a state
/// more of every id, and a verification of more candidates seldom pays on a processor.
const SNAPSHOTS: u32 = 4;
/// Drafted tokens per sequence whose states a draft model keeps; one sequence alone has twice as
/// many.
const DRAFTED: usize = 8;
/// Rows of a forward there may be at most. A mask has a number for each row and cell.
pub(super) const MOST_ROWS: u32 = 1 << 16;

/// Sequence ids for a context of so many sequences that run at a time: for each of them and
/// the stem of one that is over and kept, for the leaves, and our own. llama.cpp has
/// `most` (256), which is enough for 95 sequences; each costs it room for a row of logits.
fn ids(sequences: u32, most: usize) -> usize {
    const FEWEST: usize = 128;
    let stems = 2 * sequences.min(1 << 16) as usize;
    let own = own_ids(MemoryKind::Cells { in_order: true });
    (stems + LEAVES + own).max(FEWEST).min(most)
}

/// Sequence ids for a context of so many sequences whose model keeps a state for each id, which may
/// be tens of megabytes: for each sequence its stem, the state that a forward works on, and the
/// stem of one that is over and kept; for one more forward, which the self-test needs; for the
/// drafted tokens, and our own.
fn state_ids(sequences: u32, drafted: usize, own: usize) -> usize {
    let sequences = sequences.clamp(1, 1 << 16) as usize;
    3 * sequences + 1 + drafted + own
}

impl ContextOptions {
    /// KV cells of all sequences and candidates, as many as llama.cpp counts in one go; `None` if
    /// they cannot be counted.
    pub(super) fn cells(&self) -> Option<u32> {
        self.context
            .saturating_mul(self.sequences.max(1))
            .saturating_add(self.spare_cells)
            .checked_next_multiple_of(256)
    }

    /// Whether the context drafts.
    pub(super) fn drafts(&self) -> bool {
        self.role == "draft"
    }

    /// What a model remembers in such a context, if it keeps states (`hybrid`: and cells), or
    /// only cells.
    pub(super) fn memory(&self, states: bool, hybrid: bool) -> MemoryKind {
        if states {
            MemoryKind::States {
                snapshots: self.snapshots(),
                in_order: self.in_order && hybrid,
            }
        } else {
            MemoryKind::Cells {
                in_order: self.in_order,
            }
        }
    }

    /// Sequence ids.
    pub(super) fn ids(&self, kind: MemoryKind) -> usize {
        match kind {
            MemoryKind::Cells { .. } => ids(self.sequences, most_ids()),
            MemoryKind::States { .. } => {
                let needed = state_ids(self.sequences, self.drafted(), own_ids(kind));
                needed.min(most_ids())
            }
        }
    }

    /// Recurrent states that llama.cpp makes room for in such a context: one of each sequence id,
    /// and its snapshots. 0 for a model that keeps cells only.
    pub fn states(&self, shape: &KvShape) -> u64 {
        if shape.state == 0 {
            return 0;
        }
        let kind = self.memory(true, shape.keys > 0);
        let snapshots = if shape.snapshots { self.snapshots() } else { 0 };
        self.ids(kind) as u64 * (1 + u64::from(snapshots))
    }

    /// Drafted tokens whose states are kept, of a model that keeps states.
    fn drafted(&self) -> usize {
        if !self.drafts() {
            return 0;
        }
        let wanted = DRAFTED * (self.sequences.clamp(1, 1 << 16) as usize + 1);
        let others = state_ids(self.sequences, 0, 2);
        wanted.min(most_ids().saturating_sub(others))
    }

    /// Rows that shall be possible to leave out of a forward, of a model that keeps states. A
    /// drafter decodes token by token, and has all states anyway.
    fn snapshots(&self) -> u32 {
        if self.drafts() {
            0
        } else {
            SNAPSHOTS.min(self.rows.saturating_sub(2))
        }
    }

    /// What the core may ask of the context.
    pub(super) fn limits(&self, kind: MemoryKind) -> Limits {
        let (leaves, rollback) = match kind {
            MemoryKind::Cells { .. } => (LEAVES, Rollback::Free),
            MemoryKind::States { snapshots: 0, .. } => (self.drafted(), Rollback::Checkpoint),
            MemoryKind::States { snapshots, .. } => {
                (self.drafted(), Rollback::Bounded { rows: snapshots })
            }
        };
        Limits {
            context: self.context,
            cells: (self.context as usize) * self.sequences.max(1) as usize,
            rows: self.rows as usize,
            leaves,
            rollback,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 256;

    fn options(sequences: u32, in_order: bool) -> ContextOptions {
        ContextOptions {
            role: "target",
            context: 256,
            sequences,
            spare_cells: 0,
            rows: 32,
            in_order,
            cores: Cores::one_lane(2),
        }
    }

    #[test]
    fn there_are_ids_for_all_that_run_and_as_many_that_are_kept() {
        assert_eq!(ids(1, MOST), 128);
        let own = own_ids(MemoryKind::Cells { in_order: false });
        for sequences in 1..=95 {
            let needed = 2 * sequences as usize + LEAVES + own;
            let there = ids(sequences, MOST);
            assert!((needed..=MOST).contains(&there), "{sequences}");
        }
        assert_eq!(ids(u32::MAX, MOST), MOST);
    }

    #[test]
    fn states_have_few_ids_and_as_many_as_are_needed() {
        let target = options(1, false);
        let recurrent = target.memory(true, false);
        assert_eq!(target.ids(recurrent), 5);
        // Dead cells are the hybrid models'.
        for (hybrid, ids) in [(false, 5), (true, 6)] {
            let in_order = options(1, true);
            assert_eq!(in_order.ids(in_order.memory(true, hybrid)), ids);
        }
        let limits = target.limits(MemoryKind::States {
            snapshots: 0,
            in_order: false,
        });
        assert_eq!((limits.leaves, limits.rollback), (0, Rollback::Checkpoint));
        let draft = ContextOptions {
            role: "draft",
            ..options(2, false)
        };
        assert_eq!((draft.snapshots(), draft.drafted()), (0, 24));
        let kind = draft.memory(true, true);
        assert_eq!(draft.ids(kind), 3 * 2 + 1 + 24 + 1);
        // Snapshots need forwards of more rows than they can leave out.
        for (rows, snapshots) in [(1, 0), (2, 0), (4, 2), (32, 4), (256, 4)] {
            let options = ContextOptions {
                rows,
                ..options(1, false)
            };
            assert_eq!(options.snapshots(), snapshots);
        }
        let most = ContextOptions {
            sequences: u32::MAX,
            ..draft
        };
        assert!(most.ids(kind) <= most_ids());
    }

    #[test]
    fn there_is_a_state_for_each_id_and_each_of_its_snapshots() {
        let recurrent = KvShape {
            keys: 0,
            values: 0,
            state: 1000,
            snapshots: false,
            layers: 4,
            bytes: 0,
        };
        let rolls_back = KvShape {
            keys: 64,
            values: 64,
            snapshots: true,
            ..recurrent
        };
        let cells = KvShape {
            state: 0,
            ..rolls_back
        };
        let target = options(1, true);
        assert_eq!(target.states(&cells), 0);
        assert_eq!(target.states(&recurrent), 5);
        // A hybrid model has an id for dead cells.
        assert_eq!(target.states(&rolls_back), 6 * (1 + 4));
        let draft = ContextOptions {
            role: "draft",
            ..options(2, false)
        };
        assert_eq!(draft.states(&rolls_back), 3 * 2 + 1 + 24 + 1);
    }
}
