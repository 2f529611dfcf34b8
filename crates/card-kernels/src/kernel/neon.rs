//! NEON with the dot product, and with products of unsigned and signed bytes (i8mm): 8 rows,
//! four in each of two registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::simd::Simd;

/// With SDOT, whose bytes both have a sign.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// With USDOT, which takes codes as they are.
#[derive(Clone, Copy)]
pub(crate) struct NeonI8mm;

// The intrinsics for both are not stable yet. The assembly names its extension, so that it is
// taken wherever the compiler puts it.

/// Adds the products of four neighbouring bytes, with sign, to each lane.
///
/// # Safety
/// The processor has the dot product.
#[inline(always)]
unsafe fn sdot(sum: int32x4_t, a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: it changes the register of the sum alone, and the caller has looked for the
    // extension.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// [`sdot`] with bytes of `a` that have no sign.
///
/// # Safety
/// The processor has the int8 matrix extension.
#[inline(always)]
unsafe fn usdot(sum: int32x4_t, a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: as above.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "usdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Each lane shifted to the right, filled up with zeros.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn to_the_right(i: int32x4_t, bits: u32) -> int32x4_t {
    // A shift to the left by a negative number; of a constant it becomes an immediate.
    // SAFETY: the caller's.
    unsafe {
        let by = vdupq_n_s32(-(bits as i32));
        vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(i), by))
    }
}

/// Adds the products of the two 16-bit numbers of each lane.
///
/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn pairs(sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    // SAFETY: the caller's.
    unsafe {
        let (a, b) = (vreinterpretq_s16_s32(a), vreinterpretq_s16_s32(b));
        let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
        vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(a, b)))
    }
}

/// What both have in common.
macro_rules! common {
    () => {
        const ROWS: usize = 8;
        type Bytes = (uint8x16_t, uint8x16_t);
        type Ints = (int32x4_t, int32x4_t);
        type Floats = (float32x4_t, float32x4_t);
        type Acc = (int32x4_t, int32x4_t);

        #[inline(always)]
        unsafe fn ask(p: *const u8) {
            // Its intrinsic is not stable either.
            unsafe {
                asm!(
                    "prfm pldl1keep, [{p}]",
                    p = in(reg) p.addr(),
                    options(nomem, nostack, preserves_flags),
                );
            }
        }
        #[inline(always)]
        unsafe fn bytes(p: *const u8) -> Self::Bytes {
            unsafe { (vld1q_u8(p), vld1q_u8(p.add(16))) }
        }
        #[inline(always)]
        unsafe fn four(p: *const u8) -> Self::Bytes {
            unsafe {
                // A load that fills all lanes (LD1R).
                let word = vdupq_n_u32(p.cast::<u32>().read_unaligned());
                let word = vreinterpretq_u8_u32(word);
                (word, word)
            }
        }
        #[inline(always)]
        unsafe fn low(b: Self::Bytes) -> Self::Bytes {
            unsafe {
                let mask = vdupq_n_u8(15);
                (vandq_u8(b.0, mask), vandq_u8(b.1, mask))
            }
        }
        #[inline(always)]
        unsafe fn high(b: Self::Bytes) -> Self::Bytes {
            unsafe { (vshrq_n_u8::<4>(b.0), vshrq_n_u8::<4>(b.1)) }
        }
        #[inline(always)]
        unsafe fn with_bits(
            b: Self::Bytes,
            plane: Self::Bytes,
            left: i32,
            mask: u8,
        ) -> Self::Bytes {
            unsafe {
                // Within bytes, and to the right if negative.
                let (by, mask) = (vdupq_n_s8(left as i8), vdupq_n_u8(mask));
                (
                    vorrq_u8(b.0, vandq_u8(vshlq_u8(plane.0, by), mask)),
                    vorrq_u8(b.1, vandq_u8(vshlq_u8(plane.1, by), mask)),
                )
            }
        }
        #[inline(always)]
        unsafe fn look_up(table: &[u8; 16], b: Self::Bytes) -> Self::Bytes {
            unsafe {
                let table = vld1q_u8(table.as_ptr());
                (vqtbl1q_u8(table, b.0), vqtbl1q_u8(table, b.1))
            }
        }
        #[inline(always)]
        unsafe fn sum(acc: Self::Acc, _: u32) -> Self::Floats {
            unsafe { (vcvtq_f32_s32(acc.0), vcvtq_f32_s32(acc.1)) }
        }
        #[inline(always)]
        unsafe fn ints(p: *const u8) -> Self::Ints {
            unsafe {
                let (a, b) = (vld1q_u8(p), vld1q_u8(p.add(16)));
                (vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b))
            }
        }
        #[inline(always)]
        unsafe fn no_ints() -> Self::Ints {
            unsafe { (vdupq_n_s32(0), vdupq_n_s32(0)) }
        }
        #[inline(always)]
        unsafe fn same_int(p: *const u8) -> Self::Ints {
            unsafe {
                let word = vdupq_n_s32(p.cast::<i32>().read_unaligned());
                (word, word)
            }
        }
        #[inline(always)]
        unsafe fn shift_right(i: Self::Ints, bits: u32) -> Self::Ints {
            unsafe { (to_the_right(i.0, bits), to_the_right(i.1, bits)) }
        }
        #[inline(always)]
        unsafe fn mask(i: Self::Ints, mask: u32) -> Self::Ints {
            unsafe {
                let mask = vdupq_n_s32(mask as i32);
                (vandq_s32(i.0, mask), vandq_s32(i.1, mask))
            }
        }
        #[inline(always)]
        unsafe fn or(a: Self::Ints, b: Self::Ints) -> Self::Ints {
            unsafe { (vorrq_s32(a.0, b.0), vorrq_s32(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn add_pairs(sum: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints {
            unsafe { (pairs(sum.0, a.0, b.0), pairs(sum.1, a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn float(i: Self::Ints) -> Self::Floats {
            unsafe { (vcvtq_f32_s32(i.0), vcvtq_f32_s32(i.1)) }
        }
        #[inline(always)]
        unsafe fn zero() -> Self::Floats {
            unsafe { (vdupq_n_f32(0.0), vdupq_n_f32(0.0)) }
        }
        #[inline(always)]
        unsafe fn floats(p: *const u8) -> Self::Floats {
            unsafe {
                let (a, b) = (vld1q_u8(p), vld1q_u8(p.add(16)));
                (vreinterpretq_f32_u8(a), vreinterpretq_f32_u8(b))
            }
        }
        #[inline(always)]
        unsafe fn halves(p: *const u8) -> Self::Floats {
            unsafe {
                let h = vreinterpretq_f16_u8(vld1q_u8(p));
                (vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h))
            }
        }
        #[inline(always)]
        unsafe fn brain_halves(p: *const u8) -> Self::Floats {
            unsafe {
                let h = vreinterpretq_u16_u8(vld1q_u8(p));
                let (a, b) = (vmovl_u16(vget_low_u16(h)), vmovl_high_u16(h));
                (
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(a)),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(b)),
                )
            }
        }
        #[inline(always)]
        unsafe fn signed_bytes(p: *const u8) -> Self::Floats {
            unsafe {
                let wide = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
                (
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))),
                    vcvtq_f32_s32(vmovl_high_s16(wide)),
                )
            }
        }
        #[inline(always)]
        unsafe fn same(p: *const u8) -> Self::Floats {
            unsafe {
                let x = vdupq_n_f32(p.cast::<f32>().read_unaligned());
                (x, x)
            }
        }
        #[inline(always)]
        unsafe fn plus(a: Self::Floats, b: Self::Floats) -> Self::Floats {
            unsafe { (vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn times(a: Self::Floats, b: Self::Floats) -> Self::Floats {
            unsafe { (vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn fused(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
            unsafe { (vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn fused_minus(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
            unsafe { (vfmsq_f32(c.0, a.0, b.0), vfmsq_f32(c.1, a.1, b.1)) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, f: Self::Floats) {
            unsafe {
                vst1q_f32(p, f.0);
                vst1q_f32(p.add(4), f.1);
            }
        }
    };
}

// SAFETY (of every block here): whoever runs a kernel has looked for the dot product, and
// pointers reach as far as the trait says.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    common!();

    #[inline(always)]
    unsafe fn start(start: Self::Ints, bits: u32) -> Self::Acc {
        unsafe {
            match bits {
                // Taken for signed below.
                8 => (vdupq_n_s32(0), vdupq_n_s32(0)),
                _ => start,
            }
        }
    }
    #[inline(always)]
    unsafe fn add(
        acc: Self::Acc,
        codes: Self::Bytes,
        a: Self::Bytes,
        _: usize,
        bits: u32,
    ) -> Self::Acc {
        unsafe {
            // Shorter codes are below 128 and have no sign to be mistaken.
            let codes = match bits {
                8 => {
                    let sign = vdupq_n_u8(0x80);
                    (veorq_u8(codes.0, sign), veorq_u8(codes.1, sign))
                }
                _ => codes,
            };
            (sdot(acc.0, codes.0, a.0), sdot(acc.1, codes.1, a.1))
        }
    }
}

// SAFETY (of every block here): as above, and whoever runs a kernel has looked for i8mm.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for NeonI8mm {
    common!();

    #[inline(always)]
    unsafe fn start(start: Self::Ints, _: u32) -> Self::Acc {
        start
    }
    #[inline(always)]
    unsafe fn add(
        acc: Self::Acc,
        codes: Self::Bytes,
        a: Self::Bytes,
        _: usize,
        _: u32,
    ) -> Self::Acc {
        unsafe { (usdot(acc.0, codes.0, a.0), usdot(acc.1, codes.1, a.1)) }
    }
}

pub(crate) mod plain {
    crate::kernel::kernels!(crate::kernel::neon::Neon, 4, "neon,dotprod");
}

pub(crate) mod i8mm {
    crate::kernel::kernels!(crate::kernel::neon::NeonI8mm, 4, "neon,dotprod,i8mm");
}
