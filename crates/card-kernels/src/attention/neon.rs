//! Sixteen lanes on 64-bit ARM: four registers of NEON.

use std::arch::aarch64::{
    float32x4_t, uint16x4_t, vabsq_f32, vaddq_f32, vaddq_s32, vandq_u32, vbslq_f32, vcgtq_f32,
    vcltq_f32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u32, vfmaq_f32, vld1_u16, vld1q_f32,
    vmovl_u16, vmulq_f32, vorrq_u32, vpaddq_f32, vreinterpretq_f32_s32, vreinterpretq_f32_u32,
    vreinterpretq_s32_f32, vreinterpretq_u32_f32, vshlq_n_s32, vshlq_n_u32, vst1q_f32, vsubq_f32,
};
use std::arch::asm;

use super::lanes::F32x16;

/// Lanes 0 to 3, 4 to 7, 8 to 11 and 12 to 15.
#[derive(Clone, Copy)]
pub(super) struct NeonF32x16(float32x4_t, float32x4_t, float32x4_t, float32x4_t);

/// The values of four F16 numbers. (The intrinsic needs a type that stable Rust has not.)
///
/// # Safety
///
/// The CPU has NEON.
#[inline(always)]
unsafe fn widen(halves: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the instruction is part of NEON, reads one register and writes another.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {halves:v}.4h",
            wide = lateout(vreg) wide,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

/// An operation of two operands, on all four registers.
macro_rules! quarters {
    ($($name:ident = $op:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, b: Self) -> Self {
            // SAFETY: a value of this type exists only where the CPU has NEON.
            unsafe {
                Self($op(self.0, b.0), $op(self.1, b.1), $op(self.2, b.2), $op(self.3, b.3))
            }
        }
    )*};
}

/// `x` where it is greater than `y`, else `y`.
///
/// # Safety
///
/// The CPU has NEON.
#[inline(always)]
unsafe fn greater(x: float32x4_t, y: float32x4_t) -> float32x4_t {
    // SAFETY: the caller promises NEON.
    unsafe { vbslq_f32(vcgtq_f32(x, y), x, y) }
}

/// `x` with the sign of `from`.
///
/// # Safety
///
/// The CPU has NEON.
#[inline(always)]
unsafe fn with_sign(x: float32x4_t, from: float32x4_t) -> float32x4_t {
    // SAFETY: the caller promises NEON.
    unsafe {
        let sign = vandq_u32(vdupq_n_u32(0x8000_0000), vreinterpretq_u32_f32(from));
        vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(x), sign))
    }
}

/// Two to the power of the low bits of `x`.
///
/// # Safety
///
/// The CPU has NEON.
#[inline(always)]
unsafe fn power_of_two(x: float32x4_t) -> float32x4_t {
    // SAFETY: the caller promises NEON.
    unsafe {
        let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(x));
        vreinterpretq_f32_s32(vaddq_s32(exponent, vdupq_n_s32(0x3f80_0000)))
    }
}

/// The sums of lanes 8 apart and then 4 apart.
///
/// # Safety
///
/// The CPU has NEON.
#[inline(always)]
unsafe fn quarter(x: NeonF32x16) -> float32x4_t {
    // SAFETY: the caller promises NEON.
    unsafe { vaddq_f32(vaddq_f32(x.0, x.2), vaddq_f32(x.1, x.3)) }
}

impl F32x16 for NeonF32x16 {
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller promises the instructions.
        let x = unsafe { vdupq_n_f32(x) };
        Self(x, x, x, x)
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises the instructions and 64 bytes.
        unsafe {
            Self(
                vld1q_f32(p),
                vld1q_f32(p.add(4)),
                vld1q_f32(p.add(8)),
                vld1q_f32(p.add(12)),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller promises the instructions and 32 bytes.
        unsafe {
            Self(
                widen(vld1_u16(p)),
                widen(vld1_u16(p.add(4))),
                widen(vld1_u16(p.add(8))),
                widen(vld1_u16(p.add(12))),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller promises the instructions and 32 bytes.
        unsafe {
            let a = vshlq_n_u32::<16>(vmovl_u16(vld1_u16(p)));
            let b = vshlq_n_u32::<16>(vmovl_u16(vld1_u16(p.add(4))));
            let c = vshlq_n_u32::<16>(vmovl_u16(vld1_u16(p.add(8))));
            let d = vshlq_n_u32::<16>(vmovl_u16(vld1_u16(p.add(12))));
            Self(
                vreinterpretq_f32_u32(a),
                vreinterpretq_f32_u32(b),
                vreinterpretq_f32_u32(c),
                vreinterpretq_f32_u32(d),
            )
        }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 64 bytes; the CPU has NEON, since there is a value.
        unsafe {
            vst1q_f32(p, self.0);
            vst1q_f32(p.add(4), self.1);
            vst1q_f32(p.add(8), self.2);
            vst1q_f32(p.add(12), self.3);
        }
    }

    #[inline(always)]
    fn same(self, x: f32) -> Self {
        // SAFETY: a value of this type exists only where the CPU has NEON.
        unsafe { Self::splat(x) }
    }

    quarters! {
        add = vaddq_f32;
        sub = vsubq_f32;
        mul = vmulq_f32;
        div = vdivq_f32;
        greater = greater;
        with_sign = with_sign;
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has NEON.
        unsafe {
            Self(
                vfmaq_f32(c.0, self.0, b.0),
                vfmaq_f32(c.1, self.1, b.1),
                vfmaq_f32(c.2, self.2, b.2),
                vfmaq_f32(c.3, self.3, b.3),
            )
        }
    }

    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has NEON.
        unsafe {
            Self(
                vbslq_f32(vcltq_f32(self.0, limit.0), yes.0, no.0),
                vbslq_f32(vcltq_f32(self.1, limit.1), yes.1, no.1),
                vbslq_f32(vcltq_f32(self.2, limit.2), yes.2, no.2),
                vbslq_f32(vcltq_f32(self.3, limit.3), yes.3, no.3),
            )
        }
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has NEON.
        unsafe {
            Self(
                vabsq_f32(self.0),
                vabsq_f32(self.1),
                vabsq_f32(self.2),
                vabsq_f32(self.3),
            )
        }
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has NEON.
        unsafe {
            Self(
                power_of_two(self.0),
                power_of_two(self.1),
                power_of_two(self.2),
                power_of_two(self.3),
            )
        }
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        let [a, b, c, d] = four;
        let mut sums = [0.0; 4];
        // SAFETY: values of this type exist only where the CPU has NEON; four floats are
        // written to an array of four.
        unsafe {
            let ab = vpaddq_f32(quarter(a), quarter(b));
            let cd = vpaddq_f32(quarter(c), quarter(d));
            vst1q_f32(sums.as_mut_ptr(), vpaddq_f32(ab, cd));
        }
        sums
    }
}
