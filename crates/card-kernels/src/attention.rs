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
mod plan;
mod spans;
mod tensors;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::isa::Isa;

pub use kv::KvType;
pub use tensors::{Attention, Mask};

use lanes::{F32x16, PortableF32x16};
use plan::Plan;
use tile::Scratch;

impl Attention {
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
                _ => work::<PortableF32x16>(self, &plan, next, &scratch),
            }
        }
    }
}

/// Takes units until none is left.
///
/// # Safety
///
/// As for [`Attention::run`], with a CPU that has the lanes `L` and scratch of this thread's own.
#[inline(always)]
unsafe fn work<L: F32x16>(a: &Attention, plan: &Plan, next: &AtomicUsize, scratch: &Scratch) {
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
    unsafe { work::<x86::Avx2F32x16>(a, plan, next, scratch) }
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
    unsafe { work::<x86::Avx512F32x16>(a, plan, next, scratch) }
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
    unsafe { work::<neon::NeonF32x16>(a, plan, next, scratch) }
}
