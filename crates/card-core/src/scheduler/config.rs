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
    /// The sums of a row depend on how many KV cells its forward goes through, rounded up to a
    /// multiple of this. So no decoding forward goes over such a multiple that plain decoding of its
    /// tokens would not go over (docs/exactness.md, *GPUs*). 0 if sums do not depend on that.
    #[serde(default)]
    pub cell_block: usize,
}

/// What a forward of one sequence may have, so that it goes through as many blocks of KV cells as
/// plain decoding does at each of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockRoom {
    /// Tokens of the sequence, in a row.
    pub(super) tokens: usize,
    /// Rows, padding included.
    pub(super) rows: usize,
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
        cell_block: 0,
    };

    /// What the next forward may have of a sequence of which `decoded` tokens are decoded.
    ///
    /// Plain decoding of the token at index p computes `pad_to` rows, so its forward ends at the
    /// cell p + `pad_to`, rounded up to a multiple of `cell_block`. A forward of several tokens must
    /// end in the same block as that of each of them. Cells are taken from the start of the cache
    /// in the order of the text, as where one sequence runs at a time and each prompt is read anew.
    pub(super) fn room_behind(&self, decoded: usize) -> BlockRoom {
        if self.cell_block == 0 {
            return BlockRoom {
                tokens: usize::MAX,
                rows: usize::MAX,
            };
        }
        let least = self.pad_to.max(1);
        let end = (decoded + least).next_multiple_of(self.cell_block);
        BlockRoom {
            tokens: end - decoded - least + 1,
            rows: end - decoded,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_of_a_forward_is_in_the_block_where_plain_decoding_has_it() {
        const BLOCK: usize = 256;
        let block = |cells: usize| cells.div_ceil(BLOCK);
        for pad_to in [0, 1, 2, 5, 9] {
            let shapes = Shapes {
                pad_to,
                cell_block: BLOCK,
                ..Shapes::FREE
            };
            let plain = |at: usize| block(at + pad_to.max(1));
            for decoded in 0..3 * BLOCK {
                let room = shapes.room_behind(decoded);
                assert!(room.tokens >= 1 && room.rows >= pad_to.max(room.tokens));
                // However many rows it has, the whole forward ends there too.
                assert_eq!(block(decoded + room.rows), plain(decoded));
                assert_eq!(plain(decoded + room.tokens - 1), plain(decoded));
                assert!(plain(decoded + room.tokens) > plain(decoded), "{decoded}");
            }
        }
        assert_eq!(Shapes::FREE.room_behind(255).tokens, usize::MAX);
    }
}
