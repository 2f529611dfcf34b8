//! Sixteen lanes of `f32`, the one vector that all of attention is written with.
//!
//! Whatever register width a CPU has, lane `i` of a result comes from lane `i` of the operands
//! by one operation of IEEE 754, rounded once, so every implementation gives the same bits.
//! (The bits of a NaN are not fixed; that there is a NaN is.)

use crate::half::{bf16_to_f32, f16_to_f32};

/// Number of lanes.
pub(super) const LANES: usize = 16;

/// Sixteen `f32`.
///
/// The functions that make a value out of none are unsafe: the CPU must have the instructions
/// of the implementation. Those that take a value are safe, since there can be none on a CPU
/// without them. All are compiled into callers that enable the instructions.
pub(super) trait F32x16: Copy {
    /// Whether 16 accumulators fit into the CPU's registers; else four or five do.
    const WIDE: bool;

    /// The same number in all lanes.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions of this implementation.
    unsafe fn splat(x: f32) -> Self;

    /// Sixteen consecutive numbers, at any address.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions of this implementation; 64 bytes may be read.
    unsafe fn load(p: *const f32) -> Self;

    /// Sixteen consecutive F16 numbers, at any address.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions of this implementation; 32 bytes may be read.
    unsafe fn load_f16(p: *const u16) -> Self;

    /// Sixteen consecutive BF16 numbers, at any address.
    ///
    /// # Safety
    ///
    /// The CPU has the instructions of this implementation; 32 bytes may be read.
    unsafe fn load_bf16(p: *const u16) -> Self;

    /// Writes the lanes one after the other, at any address.
    ///
    /// # Safety
    ///
    /// 64 bytes may be written.
    unsafe fn store(self, p: *mut f32);

    /// The number `x` in all lanes.
    fn same(self, x: f32) -> Self;
    /// `self + b`.
    fn add(self, b: Self) -> Self;
    /// `self - b`.
    fn sub(self, b: Self) -> Self;
    /// `self * b`.
    fn mul(self, b: Self) -> Self;
    /// `self / b`.
    fn div(self, b: Self) -> Self;
    /// `self * b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// `self` in the lanes where it is greater than `b`, and `b` in the others: `b` where `self`
    /// is NaN.
    fn greater(self, b: Self) -> Self;
    /// `yes` in the lanes where `self` is less than `limit`, and `no` in the others: `no` where
    /// `self` is NaN.
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self;
    /// The numbers without their signs.
    fn abs(self) -> Self;
    /// The numbers with the signs of `from`; no number may have a sign before.
    fn with_sign(self, from: Self) -> Self;
    /// Two to the power `n`, for lanes that hold `1.5 * 2^23 + n`; `n` is from -126 to 127,
    /// other lanes give any number.
    fn power_of_two(self) -> Self;
    /// The sums of the lanes of four vectors, each by the order of [`tree`].
    fn sums(four: [Self; 4]) -> [f32; 4];

    /// The lanes as an array.
    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has 64 bytes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
}

/// The sum of 16 lanes in the order that all implementations keep to: lanes 8 apart, then 4
/// apart, then neighbours twice.
#[inline(always)]
pub(super) fn tree(lanes: [f32; LANES]) -> f32 {
    let mut quarter = [0.0; 4];
    for (i, sum) in quarter.iter_mut().enumerate() {
        *sum = (lanes[i] + lanes[i + 8]) + (lanes[i + 4] + lanes[i + 12]);
    }
    (quarter[0] + quarter[1]) + (quarter[2] + quarter[3])
}

/// Lanes in plain Rust, for any CPU.
#[derive(Clone, Copy)]
pub(super) struct PortableF32x16([f32; LANES]);

impl PortableF32x16 {
    /// `f` of each lane of `self` and of `b`.
    #[inline(always)]
    fn zip(mut self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        for (x, y) in self.0.iter_mut().zip(b.0) {
            *x = f(*x, y);
        }
        self
    }

    /// `f` of each of 16 half-width numbers.
    ///
    /// # Safety
    ///
    /// 32 bytes may be read at `p`.
    #[inline(always)]
    unsafe fn widen(p: *const u16, f: impl Fn(u16) -> f32) -> Self {
        // SAFETY: 16 numbers of two bytes, as the caller promises; no alignment is assumed.
        let halves = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        let mut lanes = [0.0; LANES];
        for (x, half) in lanes.iter_mut().zip(halves) {
            *x = f(half);
        }
        Self(lanes)
    }
}

impl F32x16 for PortableF32x16 {
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises 64 bytes; no alignment is assumed.
        Self(unsafe { p.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller promises 32 bytes.
        unsafe { Self::widen(p, f16_to_f32) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller promises 32 bytes.
        unsafe { Self::widen(p, bf16_to_f32) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 64 bytes; no alignment is assumed.
        unsafe { p.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    fn same(self, x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        self.zip(b, |x, y| x + y)
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self.zip(b, |x, y| x - y)
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.zip(b, |x, y| x * y)
    }

    #[inline(always)]
    fn div(self, b: Self) -> Self {
        self.zip(b, |x, y| x / y)
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        let mut lanes = c.0;
        for (i, x) in lanes.iter_mut().enumerate() {
            *x = self.0[i].mul_add(b.0[i], *x);
        }
        Self(lanes)
    }

    #[inline(always)]
    fn greater(self, b: Self) -> Self {
        self.zip(b, |x, y| if x > y { x } else { y })
    }

    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        let mut lanes = no.0;
        for (i, x) in lanes.iter_mut().enumerate() {
            if self.0[i] < limit.0[i] {
                *x = yes.0[i];
            }
        }
        Self(lanes)
    }

    #[inline(always)]
    fn abs(self) -> Self {
        self.zip(self, |x, _| x.abs())
    }

    #[inline(always)]
    fn with_sign(self, from: Self) -> Self {
        self.zip(from, |x, y| {
            f32::from_bits(x.to_bits() | (y.to_bits() & 0x8000_0000))
        })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        self.zip(self, |x, _| {
            f32::from_bits((x.to_bits() << 23).wrapping_add(0x3f80_0000))
        })
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        four.map(|lanes| tree(lanes.0))
    }
}

#[cfg(test)]
mod tests {
    use super::tree;

    #[test]
    fn the_tree_adds_every_lane_once() {
        let mut lanes = [0.0; 16];
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = (1u32 << i) as f32;
        }
        assert_eq!(tree(lanes), 65535.0);
    }
}
