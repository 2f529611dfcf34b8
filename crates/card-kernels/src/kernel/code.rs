//! Codes of quantised weights, and how they are taken out of memory.

use super::simd::Simd;
use crate::kind::IQ4;

/// How codes are taken out of a unit.
pub(crate) trait Code {
    /// Bits of a code.
    const BITS: u32;
    /// In a block of 256: so many neighbouring parts, each times its scale, give a sum below
    /// 2^24 whatever the numbers are, so that a `f32` holds it exactly. 0 if it is only one.
    const EXACT: usize;
    /// Bytes of a unit for one row.
    const UNIT: usize;
    /// Codes 8p to 8p+3 and 8p+4 to 8p+7 of each row.
    ///
    /// # Safety
    /// `unit` points to a unit of [`Simd::ROWS`] rows.
    unsafe fn pair<S: Simd>(unit: *const u8, p: usize) -> (S::Bytes, S::Bytes);
}

/// Four bits, as whole numbers.
pub(crate) struct Four;
/// Four bits that are places of a table.
pub(crate) struct FourOfTable;
/// Four bits, and the fifth apart.
pub(crate) struct Five;
/// Four bits, and two more apart.
pub(crate) struct Six;
/// Whole bytes.
pub(crate) struct Eight;

impl Code for Four {
    const BITS: u32 = 4;
    // 4 * 32 * 15 * 127 * 63.
    const EXACT: usize = 4;
    const UNIT: usize = 16;
    #[inline(always)]
    unsafe fn pair<S: Simd>(unit: *const u8, p: usize) -> (S::Bytes, S::Bytes) {
        // SAFETY: the unit has four vectors.
        unsafe {
            let both = S::bytes(unit.add(4 * S::ROWS * p));
            (S::low(both), S::high(both))
        }
    }
}

impl Code for FourOfTable {
    const BITS: u32 = 8;
    // 2 * 32 * 127 * 127 * 32 is too much.
    const EXACT: usize = 0;
    const UNIT: usize = 16;
    #[inline(always)]
    unsafe fn pair<S: Simd>(unit: *const u8, p: usize) -> (S::Bytes, S::Bytes) {
        // SAFETY: as the caller says.
        unsafe {
            let (low, high) = Four::pair::<S>(unit, p);
            (S::look_up(&IQ4, low), S::look_up(&IQ4, high))
        }
    }
}

impl Code for Five {
    const BITS: u32 = 5;
    // 2 * 32 * 31 * 127 * 63.
    const EXACT: usize = 2;
    const UNIT: usize = 20;
    #[inline(always)]
    unsafe fn pair<S: Simd>(unit: *const u8, p: usize) -> (S::Bytes, S::Bytes) {
        // SAFETY: the unit has four vectors and one of fifth bits.
        unsafe {
            let (low, high) = Four::pair::<S>(unit, p);
            let plane = S::bytes(unit.add(16 * S::ROWS));
            let left = 4 - 2 * p as i32;
            (
                S::with_bits(low, plane, left, 0x10),
                S::with_bits(high, plane, left - 1, 0x10),
            )
        }
    }
}

impl Code for Six {
    const BITS: u32 = 6;
    // 2 * 16 * 32 * 127 * 128.
    const EXACT: usize = 2;
    const UNIT: usize = 24;
    #[inline(always)]
    unsafe fn pair<S: Simd>(unit: *const u8, p: usize) -> (S::Bytes, S::Bytes) {
        // SAFETY: the unit has four vectors and two of fifth and sixth bits.
        unsafe {
            let (low, high) = Four::pair::<S>(unit, p);
            let plane = S::bytes(unit.add(4 * S::ROWS * (4 + p / 2)));
            let left = 4 - 4 * (p % 2) as i32;
            (
                S::with_bits(low, plane, left, 0x30),
                S::with_bits(high, plane, left - 2, 0x30),
            )
        }
    }
}

impl Code for Eight {
    const BITS: u32 = 8;
    // It has no blocks of 256.
    const EXACT: usize = 0;
    const UNIT: usize = 32;
    #[inline(always)]
    unsafe fn pair<S: Simd>(unit: *const u8, p: usize) -> (S::Bytes, S::Bytes) {
        // SAFETY: the unit has eight vectors.
        unsafe {
            let first = unit.add(8 * S::ROWS * p);
            (S::bytes(first), S::bytes(first.add(4 * S::ROWS)))
        }
    }
}
