//! Flash attention on the CPU whose results do not depend on what runs beside a row.
//!
//! It means what ggml's `FLASH_ATTN_EXT` means: for each row of `q` and each head, the softmax
//! of `scale * q·k + mask` weighs the rows of `v`. What differs is the order of the sums. The
//! output of one row and one head depends on that row of `q`, on its mask values and on the
//! cells that it sees (those whose mask is not minus infinity), taken in their order, and on
//! nothing else: neither on hidden cells in between, nor on other rows, heads, streams or
//! threads, nor on the instruction set. The same inputs give the same bits everywhere.
//!
//! The order of sums:
//!
//! 1. A product `q·k` has 16 partial sums; element `d` goes by fused multiply-add to sum
//!    `d % 16`, in rising order. They are then added as a fixed tree:
//!    sums 8 apart, then 4 apart, then neighbours twice.
//! 2. The largest score of all seen cells is subtracted before `exp` (a polynomial of our own).
//! 3. The sum of the weights has 16 partial sums as well; the seen cell number `j` of the row
//!    goes to sum `j % 16`.
//! 4. Each element of the output takes the seen cells one after the other, one fused
//!    multiply-add each, and is multiplied with the reciprocal of the sum of weights at the end.
//!
//! A cell that a row does not see is never multiplied with anything of that row, so it may hold
//! any bytes at all, NaN and infinity too.

mod kernel;
mod kv;
mod lanes;
mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod spans;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::isa::Isa;

pub use kv::KvType;

use kv::BLOCK;
use lanes::{LANES, Lanes, Portable};
use tile::{PAIRS, Scratch, Tile};

/// Bytes to which each thread's scratch is aligned: one cache line.
const LINE: usize = 64;

/// The mask of an attention: one F16 value for each row and cell, added to the score. Minus
/// infinity hides the cell from the row.
///
/// Row `i` of head `h` of stream `s` has its values at
/// `ptr + i * nb1 + (h % ne2) * nb2 + (s % ne3) * nb3`, one every two bytes.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    /// The first value.
    pub ptr: *const u8,
    /// Bytes from one row to the next.
    pub nb1: usize,
    /// Bytes from one head to the next.
    pub nb2: usize,
    /// Bytes from one stream to the next.
    pub nb3: usize,
    /// Number of heads that have a mask of their own (1 if all heads share one).
    pub ne2: usize,
    /// Number of streams that have a mask of their own.
    pub ne3: usize,
}

/// One attention: its tensors, as ggml holds them, and its parameters.
///
/// Strides are in bytes and in ggml's order: `nb[0]` from one element to the next (not read: the
/// elements of a row lie side by side), `nb[1]` from one row or cell to the next, `nb[2]` from
/// head to head, `nb[3]` from stream to stream.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// The queries: F32 `[dk, n_q, n_head, n_stream]`.
    pub q: *const u8,
    /// Strides of `q` in bytes.
    pub q_nb: [usize; 4],
    /// The keys: `[dk, n_kv, n_head_k, n_stream_k]`.
    pub k: *const u8,
    /// Strides of `k` in bytes.
    pub k_nb: [usize; 4],
    /// What the elements of `k` are.
    pub k_type: KvType,
    /// The values: `[dv, n_kv, n_head_v, n_stream_v]`.
    pub v: *const u8,
    /// Strides of `v` in bytes.
    pub v_nb: [usize; 4],
    /// What the elements of `v` are.
    pub v_type: KvType,
    /// Elements of a row of `q` and of `k`.
    pub dk: usize,
    /// Elements of a row of `v`.
    pub dv: usize,
    /// Rows of `q` in each head and stream.
    pub n_q: usize,
    /// Cells of `k` and `v` in each head and stream; below 2^32.
    pub n_kv: usize,
    /// Heads of `q`: a multiple of `n_head_k` and of `n_head_v`.
    pub n_head: usize,
    /// Heads of `k`.
    pub n_head_k: usize,
    /// Heads of `v`.
    pub n_head_v: usize,
    /// Streams of `q`: a multiple of `n_stream_k` and of `n_stream_v`.
    pub n_stream: usize,
    /// Streams of `k`.
    pub n_stream_k: usize,
    /// Streams of `v`.
    pub n_stream_v: usize,
    /// The mask; without one every row sees every cell.
    pub mask: Option<Mask>,
    /// One F32 for each head that takes part in the softmax as the score of a cell whose value
    /// is zero.
    pub sinks: Option<*const f32>,
    /// What a product `q·k` is multiplied with.
    pub scale: f32,
    /// Greatest bias of ALiBi: above 0, each head multiplies its mask values with a slope.
    pub max_bias: f32,
    /// If not 0, a score `x` becomes `softcap * tanh(x / softcap)` before the mask is added.
    pub softcap: f32,
    /// The output: F32 `[dv, n_head, n_q, n_stream]`, contiguous.
    pub dst: *mut f32,
}

// SAFETY: the safe functions read numbers only. The pointers are followed by `run`, which is
// unsafe and whose contract covers calls from several threads.
unsafe impl Send for Attention {}
// SAFETY: as above.
unsafe impl Sync for Attention {}

/// How an attention is cut into units of work.
struct Plan {
    /// Consecutive heads that read the same head of K and of V.
    group: usize,
    /// Heads of a unit, at most.
    heads: usize,
    /// Rows of a unit, at most.
    rows: usize,
    /// Number of units.
    units: usize,
}

impl Attention {
    /// Bytes of scratch that [`Attention::run`] needs when `threads` threads share the work.
    /// The caller need not clear or align them.
    #[must_use]
    pub fn scratch_bytes(&self, threads: usize) -> usize {
        threads * self.thread_bytes() + LINE
    }

    /// Does this thread's share of the work. All `threads` threads call it with the same
    /// attention, `isa` and `scratch`, each with its own number `thread` from 0; each takes
    /// units of work from `next` until none is left.
    ///
    /// # Safety
    ///
    /// - This CPU runs `isa` (it is one of [`Isa::available`]).
    /// - `q`, `k`, `v`, the mask and the sinks may be read, and `dst` may be written, for the
    ///   dimensions and strides given, while any thread is inside this call; nobody else
    ///   writes them or touches `dst` meanwhile. Cells of K and V that no row sees are not read.
    ///   `sinks` and `dst` are aligned to 4 bytes. The heads and streams of K, V and the mask
    ///   are at least one.
    /// - Quantised K (or V) has a `dk` (or `dv`) that is a multiple of 32.
    /// - `scratch` has [`Attention::scratch_bytes`] bytes for at least `threads` threads, used
    ///   by nobody else meanwhile; `thread` is below `threads` and no two threads have the same.
    /// - `next` was 0 before the first of the threads began.
    pub unsafe fn run(
        &self,
        isa: Isa,
        thread: usize,
        threads: usize,
        next: &AtomicUsize,
        scratch: *mut u8,
    ) {
        let plan = self.plan(threads);
        // SAFETY: the caller gives scratch for `threads` threads and a number of this thread's
        // own, so the part that `scratch` cuts out is inside and nobody else's.
        let scratch = unsafe { self.scratch(scratch, thread) };
        // SAFETY: this CPU has what `isa` says, and the tensors are as the caller promises.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 | Isa::AvxVnni => work_avx2(self, &plan, next, &scratch),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Amx => work_avx512(self, &plan, next, &scratch),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon | Isa::NeonI8mm => work_neon(self, &plan, next, &scratch),
                _ => work::<Portable>(self, &plan, next, &scratch),
            }
        }
    }

    /// Cuts the work into units: up to eight pairs of a row and a head that read the same K and
    /// V, so that these are loaded once for all. Fewer pairs where there would else be fewer
    /// units than threads. No bit of the output depends on the cut.
    fn plan(&self, threads: usize) -> Plan {
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
    fn tile(&self, plan: &Plan, unit: usize) -> Tile {
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
    unsafe fn scratch(&self, scratch: *mut u8, thread: usize) -> Scratch {
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

    /// The mask values of a row of a head of a stream.
    ///
    /// # Safety
    ///
    /// The mask is as [`Attention::run`] demands and the indices are inside the dimensions.
    unsafe fn mask_row(&self, stream: usize, head: usize, row: usize) -> Option<*const u16> {
        let mask = self.mask?;
        let at = row * mask.nb1 + head % mask.ne2 * mask.nb2 + stream % mask.ne3 * mask.nb3;
        // SAFETY: the caller promises that this row of the mask exists.
        Some(unsafe { mask.ptr.add(at).cast() })
    }

    /// What the mask values of a head are multiplied with.
    fn slope(&self, head: usize) -> f32 {
        if self.max_bias <= 0.0 {
            return 1.0;
        }
        let whole = 1usize << self.n_head.ilog2();
        if head < whole {
            2f32.powf(-self.max_bias / whole as f32)
                .powf((head + 1) as f32)
        } else {
            2f32.powf(-self.max_bias / 2.0 / whole as f32)
                .powf((2 * (head - whole) + 1) as f32)
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

/// Takes units until none is left.
///
/// # Safety
///
/// As for [`Attention::run`], with a CPU that has the lanes `L` and scratch of this thread's own.
#[inline(always)]
unsafe fn work<L: Lanes>(a: &Attention, plan: &Plan, next: &AtomicUsize, scratch: &Scratch) {
    loop {
        let unit = next.fetch_add(1, Ordering::Relaxed);
        if unit >= plan.units {
            return;
        }
        let tile = a.tile(plan, unit);
        // SAFETY: the tile is inside the dimensions and no other thread gets the same unit, so
        // its part of `dst` is this thread's; the rest is as the caller promises.
        unsafe { tile::run::<L>(a, &tile, scratch) };
    }
}

/// [`work`] compiled for AVX2.
///
/// # Safety
///
/// As for [`work`]; the CPU has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn work_avx2(a: &Attention, plan: &Plan, next: &AtomicUsize, scratch: &Scratch) {
    // SAFETY: the caller's promises are those of `work`.
    unsafe { work::<x86::Avx2>(a, plan, next, scratch) }
}

/// [`work`] compiled for AVX-512.
///
/// # Safety
///
/// As for [`work`]; the CPU has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn work_avx512(a: &Attention, plan: &Plan, next: &AtomicUsize, scratch: &Scratch) {
    // SAFETY: the caller's promises are those of `work`.
    unsafe { work::<x86::Avx512>(a, plan, next, scratch) }
}

/// [`work`] compiled for NEON.
///
/// # Safety
///
/// As for [`work`]; the CPU has NEON.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn work_neon(a: &Attention, plan: &Plan, next: &AtomicUsize, scratch: &Scratch) {
    // SAFETY: the caller's promises are those of `work`.
    unsafe { work::<neon::Neon>(a, plan, next, scratch) }
}
