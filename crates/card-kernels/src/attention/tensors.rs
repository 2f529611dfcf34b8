//! The tensors of an attention, as ggml holds them, and its parameters.

use super::kv::KvType;

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

impl Attention {
    /// The mask values of a row of a head of a stream.
    ///
    /// # Safety
    ///
    /// The mask is as [`Attention::run`] demands and the indices are inside the dimensions.
    pub(super) unsafe fn mask_row(
        &self,
        stream: usize,
        head: usize,
        row: usize,
    ) -> Option<*const u16> {
        let mask = self.mask?;
        let at = row * mask.nb1 + head % mask.ne2 * mask.nb2 + stream % mask.ne3 * mask.nb3;
        // SAFETY: the caller promises that this row of the mask exists.
        Some(unsafe { mask.ptr.add(at).cast() })
    }

    /// What the mask values of a head are multiplied with.
    pub(super) fn slope(&self, head: usize) -> f32 {
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
