//! Changes of llama.cpp's KV cache, which llama.cpp calls its "memory".

/// A llama.cpp sequence id. Each KV cell is marked with the ids it belongs to, and a token
/// attends to the cells of its own id. A recurrent model keeps one state for each id.
pub(crate) type SeqId = i32;

/// A change of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryOp {
    /// Cells of `from` before position `end` belong to `to` as well. No data is copied.
    Copy { from: SeqId, to: SeqId, end: u32 },
    /// All that `from` holds belongs to `to` as well, states too; `to` held nothing. No data is
    /// copied before either of them is decoded.
    CopyAll { from: SeqId, to: SeqId },
    /// What `id` holds from position `start` on no longer belongs to it.
    Remove { id: SeqId, start: u32 },
}
