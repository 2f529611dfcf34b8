//! Attention: the functions that the C++ side calls.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use card_kernels::{Attention, KvType, Mask};

use super::isa::isa;

/// An attention in numbers: `card_attention` of `abi.h`.
#[repr(C)]
pub(crate) struct CAttention {
    q: *const u8,
    q_strides: [usize; 3],
    q_size: [i64; 4],
    k: *const u8,
    k_strides: [usize; 3],
    k_size: [i64; 4],
    v: *const u8,
    v_strides: [usize; 3],
    v_size: [i64; 4],
    k_type: u32,
    v_type: u32,
    mask: *const u8,
    mask_strides: [usize; 3],
    mask_size: [i64; 2],
    sinks: *const f32,
    scale: f32,
    max_bias: f32,
    softcap: f32,
    to: *mut f32,
}

/// Bytes before the scratch memory: the counter from which threads take their units.
const COUNTER: usize = 64;

impl CAttention {
    /// The mask, which is there; `None` if its size cannot be counted.
    fn mask(&self) -> Option<Mask> {
        let [heads, streams] = self.mask_size;
        Some(Mask {
            ptr: self.mask,
            nb1: self.mask_strides[0],
            nb2: self.mask_strides[1],
            nb3: self.mask_strides[2],
            ne2: usize::try_from(heads).ok()?,
            ne3: usize::try_from(streams).ok()?,
        })
    }

    /// The attention as `card-kernels` takes it, if the kernels have its types.
    fn attention(&self) -> Option<Attention> {
        let size = |n: i64| usize::try_from(n).ok();
        let strides = |[a, b, c]: [usize; 3]| [0, a, b, c];
        let [dk, n_q, n_head, n_stream] = self.q_size;
        let [_, n_kv, n_head_k, n_stream_k] = self.k_size;
        let [dv, _, n_head_v, n_stream_v] = self.v_size;
        Some(Attention {
            q: self.q,
            q_nb: strides(self.q_strides),
            k: self.k,
            k_nb: strides(self.k_strides),
            k_type: kv_type(self.k_type)?,
            v: self.v,
            v_nb: strides(self.v_strides),
            v_type: kv_type(self.v_type)?,
            dk: size(dk)?,
            dv: size(dv)?,
            n_q: size(n_q)?,
            n_kv: size(n_kv)?,
            n_head: size(n_head)?,
            n_head_k: size(n_head_k)?,
            n_head_v: size(n_head_v)?,
            n_stream: size(n_stream)?,
            n_stream_k: size(n_stream_k)?,
            n_stream_v: size(n_stream_v)?,
            mask: if self.mask.is_null() {
                None
            } else {
                Some(self.mask()?)
            },
            sinks: (!self.sinks.is_null()).then_some(self.sinks),
            scale: self.scale,
            max_bias: self.max_bias,
            softcap: self.softcap,
            dst: self.to,
        })
    }
}

/// The type of cached keys and values with ggml's number `id`.
fn kv_type(id: u32) -> Option<KvType> {
    match id {
        0 => Some(KvType::F32),
        1 => Some(KvType::F16),
        2 => Some(KvType::Q4_0),
        8 => Some(KvType::Q8_0),
        30 => Some(KvType::Bf16),
        _ => None,
    }
}

/// Bytes of memory that the threads of an attention share; 0 if the kernels cannot do it.
///
/// # Safety
/// `attention` points to an attention.
#[unsafe(no_mangle)]
unsafe extern "C" fn card_attention_work(attention: *const CAttention, threads: c_int) -> usize {
    // SAFETY: the caller's.
    let attention = unsafe { &*attention };
    let attention = attention.attention();
    attention.map_or(0, |a| 2 * COUNTER + a.scratch_bytes(threads as usize))
}

/// Does a thread's part of an attention.
///
/// # Safety
/// As for [`Attention::run`].
#[unsafe(no_mangle)]
unsafe extern "C" fn card_attention_run(
    attention: *const CAttention,
    thread: c_int,
    threads: c_int,
    barrier: unsafe extern "C" fn(*mut c_void),
    pool: *mut c_void,
    work: *mut u8,
) {
    // SAFETY: the caller's.
    let attention = unsafe { &*attention };
    let start = work.wrapping_add(work.align_offset(COUNTER));
    // SAFETY: the work memory begins with room for a counter, aligned.
    let next = unsafe { &*start.cast::<AtomicUsize>() };
    if thread == 0 {
        next.store(0, Ordering::Relaxed);
    }
    // SAFETY: the pool outlives the operation.
    unsafe { barrier(pool) };
    if let Some(attention) = attention.attention() {
        let scratch = start.wrapping_add(COUNTER);
        // SAFETY: ggml's tensors are as they say, its threads all come here, and the scratch
        // memory is as large as `card_attention_work` said.
        unsafe { attention.run(isa(), thread as usize, threads as usize, next, scratch) };
    }
}
