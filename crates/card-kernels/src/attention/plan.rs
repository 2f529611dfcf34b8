//! How an attention is cut into units of work, and where each thread's scratch lies.

use super::kernel::PAIRS;
use super::kv::BLOCK;
use super::lanes::LANES;
use super::tensors::Attention;
use super::tile::{Scratch, Tile};

/// Bytes to which each thread's scratch is aligned: one cache line.
const LINE: usize = 64;

/// How an attention is cut into units of work.
pub(super) struct Plan {
    /// Consecutive heads that read the same head of K and of V.
    group: usize,
    /// Heads of a unit, at most.
    heads: usize,
    /// Rows of a unit, at most.
    rows: usize,
    /// Number of units.
    pub(super) units: usize,
}

impl Attention {
    /// Bytes of scratch that [`Attention::run`] needs when `threads` threads share the work.
    /// The caller need not clear or align them.
    #[must_use]
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        threads * self.thread_bytes() + LINE
    }

    /// Cuts the work into units: up to eight pairs of a row and a head that read the same K and
    /// V, so that these are loaded once for all. Fewer pairs where there would else be fewer
    /// units than threads. No bit of the output depends on the cut.
    pub(super) fn plan(&self, threads: usize) -> Plan {
        let own_masks = self.mask.is_some_and(|mask| mask.ne2 > 1);
        let group = if own_masks || self.n_head == 0 {
            1
        } else {
            common_divisor(self.n_head / self.n_head_k, self.n_head / self.n_head_v)
        };
        let heads = group.div_ceil(group.div_ceil(PAIRS));
        let rows = (PAIRS / heads).min(self.n_q).max(1);
        let mut plan = Plan {
            group,
            heads,
            rows,
            units: 0,
        };
        loop {
            plan.units = self.n_stream
                * (self.n_head / plan.group)
                * plan.group.div_ceil(plan.heads)
                * self.n_q.div_ceil(plan.rows);
            if plan.units >= threads || plan.heads * plan.rows == 1 {
                return plan;
            }
            if plan.rows > 1 {
                plan.rows = plan.rows.div_ceil(2);
            } else {
                plan.heads = plan.heads.div_ceil(2);
            }
        }
    }

    /// The unit number `unit`. Neighbouring units read the same K and V; of these the last rows
    /// come first, since they see the most cells of a causal mask and would else end last.
    pub(super) fn tile(&self, plan: &Plan, unit: usize) -> Tile {
        let row_tiles = self.n_q.div_ceil(plan.rows);
        let parts = plan.group.div_ceil(plan.heads);
        let groups = self.n_head / plan.group;
        let row = (row_tiles - 1 - unit % row_tiles) * plan.rows;
        let rest = unit / row_tiles;
        let part = rest % parts;
        let rest = rest / parts;
        let first = part * plan.heads;
        Tile {
            stream: rest / groups,
            head: rest % groups * plan.group + first,
            heads: plan.heads.min(plan.group - first),
            row,
            rows: plan.rows.min(self.n_q - row),
        }
    }

    /// Floats between two rows of queries, two outputs, two lists of cells, and two decoded
    /// cells, in scratch. A list has room for 16 entries more than there are cells.
    fn strides(&self) -> [usize; 4] {
        let q = self.dk.next_multiple_of(LANES);
        let out = self.dv.next_multiple_of(LANES);
        let list = self.n_kv.next_multiple_of(LANES) + LANES;
        let decoded = if self.k_type.is_quantised() || self.v_type.is_quantised() {
            q.max(out)
        } else {
            0
        };
        [q, out, list, decoded]
    }

    /// Bytes of scratch of one thread. One thread alone has the largest units.
    fn thread_bytes(&self) -> usize {
        let plan = self.plan(1);
        let [q, out, list, decoded] = self.strides();
        let pairs = plan.heads * plan.rows;
        let floats = pairs * (q + out + list) + plan.rows * list + BLOCK * decoded;
        (floats * size_of::<f32>()).next_multiple_of(LINE)
    }

    /// The part of the scratch that belongs to `thread`.
    ///
    /// # Safety
    ///
    /// `scratch` has `scratch_bytes(thread + 1)` bytes or more.
    pub(super) unsafe fn scratch(&self, scratch: *mut u8, thread: usize) -> Scratch {
        let plan = self.plan(1);
        let pairs = plan.heads * plan.rows;
        let [q_stride, out_stride, list_stride, decoded_stride] = self.strides();
        let skip = scratch.addr().next_multiple_of(LINE) - scratch.addr();
        // SAFETY: `skip` is below one line and the parts add up to `thread_bytes`, so every
        // pointer stays inside what the caller gave.
        unsafe {
            let q: *mut f32 = scratch.add(skip + thread * self.thread_bytes()).cast();
            let out = q.add(pairs * q_stride);
            let scores = out.add(pairs * out_stride);
            let lists = scores.add(pairs * list_stride);
            let decoded = lists.add(plan.rows * list_stride);
            Scratch {
                q,
                out,
                scores,
                lists: lists.cast(),
                decoded,
                q_stride,
                out_stride,
                list_stride,
                decoded_stride,
            }
        }
    }
}

/// The greatest common divisor.
fn common_divisor(mut a: usize, mut b: usize) -> usize {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
