//! The rows of K and V: what their elements are, where they lie, and how they become lanes.

use std::ptr;

use super::lanes::{F32x16, LANES};
use crate::half::f16_to_f32;

/// Cells that are worked on together, so that what is read again is still in the first cache.
pub(super) const BLOCK: usize = 16;

/// What the elements of K or V are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats of IEEE 754.
    F16,
    /// The upper 16 bits of 32-bit floats.
    Bf16,
    /// ggml's Q8_0: blocks of 32 signed bytes with an F16 scale in front.
    Q8_0,
    /// ggml's Q4_0: blocks of 32 half bytes, less 8, with an F16 scale in front.
    Q4_0,
}

impl KvType {
    /// Whether rows are decoded to F32 before use.
    pub(super) fn is_quantised(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4_0)
    }
}

/// Elements of a block of Q8_0 and of Q4_0.
const QUANTS: usize = 32;

/// Rows whose elements can be loaded as lanes.
pub(super) trait Cells {
    /// Elements `at` to `at + 16` of a row.
    ///
    /// # Safety
    ///
    /// The row has these elements, and the CPU has the instructions of `L`.
    unsafe fn load<L: F32x16>(row: *const u8, at: usize) -> L;

    /// The `n` elements (below 16) from `at` on, and zeros in the lanes behind.
    ///
    /// # Safety
    ///
    /// The row has these elements, and the CPU has the instructions of `L`.
    unsafe fn load_tail<L: F32x16>(row: *const u8, at: usize, n: usize) -> L;
}

/// Implements [`Cells`] for elements of one type that a function of [`F32x16`] loads.
macro_rules! cells {
    ($(#[$doc:meta])* $name:ident, $element:ty, $load:ident) => {
        $(#[$doc])*
        pub(super) enum $name {}

        impl Cells for $name {
            #[inline(always)]
            unsafe fn load<L: F32x16>(row: *const u8, at: usize) -> L {
                // SAFETY: the caller promises 16 elements from `at` on and the instructions.
                unsafe { L::$load(row.cast::<$element>().add(at)) }
            }

            #[inline(always)]
            unsafe fn load_tail<L: F32x16>(row: *const u8, at: usize, n: usize) -> L {
                let mut elements = [<$element>::default(); LANES];
                // SAFETY: the caller promises `n` elements from `at` on, `n` is below the
                // length of the array, and bytes are copied, which need no alignment.
                unsafe {
                    ptr::copy_nonoverlapping(
                        row.cast::<$element>().add(at).cast::<u8>(),
                        elements.as_mut_ptr().cast::<u8>(),
                        n * size_of::<$element>(),
                    );
                    L::$load(elements.as_ptr())
                }
            }
        }
    };
}

cells!(
    /// Rows of F32, or of what was decoded to it.
    F32,
    f32,
    load
);
cells!(
    /// Rows of F16.
    F16,
    u16,
    load_f16
);
cells!(
    /// Rows of BF16.
    Bf16,
    u16,
    load_bf16
);

/// The cells of one head of K or of V.
#[derive(Clone, Copy)]
pub(super) struct Side {
    /// The row of cell 0.
    pub(super) base: *const u8,
    /// Bytes from one cell to the next.
    pub(super) stride: usize,
    /// What the elements are.
    pub(super) kind: KvType,
    /// Elements of a row.
    pub(super) len: usize,
}

impl Side {
    /// Where the rows of up to [`BLOCK`] cells are: in place, or, if they are quantised, decoded
    /// to F32 at `decoded`, `step` floats apart.
    ///
    /// # Safety
    ///
    /// The cells exist; if they are quantised, `decoded` has `BLOCK * step` floats, `step` is
    /// `len` or more and `len` is a multiple of 32.
    #[inline(always)]
    pub(super) unsafe fn rows(
        &self,
        cells: &[u32],
        decoded: *mut f32,
        step: usize,
    ) -> [*const u8; BLOCK] {
        let mut rows = [ptr::null(); BLOCK];
        for (i, (row, &cell)) in rows.iter_mut().zip(cells).enumerate() {
            // SAFETY: the cell exists; there are at most `BLOCK` of them, so each has its own
            // `step` floats of `decoded`.
            *row = unsafe {
                let stored = self.base.add(cell as usize * self.stride);
                match self.kind {
                    KvType::F32 | KvType::F16 | KvType::Bf16 => stored,
                    KvType::Q8_0 => {
                        let to = decoded.add(i * step);
                        decode_q8_0(stored, self.len, to);
                        to.cast_const().cast()
                    }
                    KvType::Q4_0 => {
                        let to = decoded.add(i * step);
                        decode_q4_0(stored, self.len, to);
                        to.cast_const().cast()
                    }
                }
            };
        }
        rows
    }
}

/// The scale in front of a block.
///
/// # Safety
///
/// Two bytes may be read.
#[inline(always)]
unsafe fn scale(block: *const u8) -> f32 {
    // SAFETY: the caller promises two bytes.
    f16_to_f32(u16::from_le_bytes(unsafe {
        block.cast::<[u8; 2]>().read()
    }))
}

/// Decodes a row of Q8_0.
///
/// # Safety
///
/// `row` has `len / 32` blocks of 34 bytes and `to` has room for `len` floats.
#[inline(always)]
unsafe fn decode_q8_0(row: *const u8, len: usize, to: *mut f32) {
    for block in 0..len / QUANTS {
        // SAFETY: the block is one of the row's, and its floats are inside `to`.
        unsafe {
            let from = row.add(block * (2 + QUANTS));
            let to = to.add(block * QUANTS);
            let scale = scale(from);
            let quants = from.add(2).cast::<[i8; QUANTS]>().read();
            for (i, quant) in quants.into_iter().enumerate() {
                to.add(i).write(f32::from(quant) * scale);
            }
        }
    }
}

/// Decodes a row of Q4_0: the low halves of a block's bytes are its first 16 elements.
///
/// # Safety
///
/// `row` has `len / 32` blocks of 18 bytes and `to` has room for `len` floats.
#[inline(always)]
unsafe fn decode_q4_0(row: *const u8, len: usize, to: *mut f32) {
    for block in 0..len / QUANTS {
        // SAFETY: the block is one of the row's, and its floats are inside `to`.
        unsafe {
            let from = row.add(block * (2 + QUANTS / 2));
            let to = to.add(block * QUANTS);
            let scale = scale(from);
            let quants = from.add(2).cast::<[u8; QUANTS / 2]>().read();
            for (i, quant) in quants.into_iter().enumerate() {
                let low = f32::from(quant & 15) - 8.0;
                let high = f32::from(quant >> 4) - 8.0;
                to.add(i).write(low * scale);
                to.add(QUANTS / 2 + i).write(high * scale);
            }
        }
    }
}
