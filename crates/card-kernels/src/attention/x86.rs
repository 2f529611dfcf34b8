//! Sixteen lanes on x86-64: two registers of AVX2, or one of AVX-512.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, __m512, _CMP_LT_OQ, _mm_loadu_si128, _mm_storeu_ps, _mm_unpacklo_ps,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_div_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
    _mm256_hadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps, _mm256_mul_ps,
    _mm256_or_ps, _mm256_permute2f128_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32,
    _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_epi32, _mm512_add_ps, _mm512_and_ps,
    _mm512_andnot_ps, _mm512_castps_si512, _mm512_castps512_ps128, _mm512_castsi512_ps,
    _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_div_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_maskz_compress_ps, _mm512_max_ps, _mm512_mul_ps,
    _mm512_or_ps, _mm512_permute_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_shuffle_f32x4,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::lanes::F32x16;

/// Bits of 1.0: what the exponent field of `2^0` is.
const ONE: i32 = 0x3f80_0000;

/// Lanes 0 to 7 and 8 to 15, with AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct Avx2F32x16(__m256, __m256);

/// An operation of two operands, on both halves.
macro_rules! halves {
    ($($name:ident = $op:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, b: Self) -> Self {
            // SAFETY: a value of this type exists only where the CPU has AVX2.
            unsafe { Self($op(self.0, b.0), $op(self.1, b.1)) }
        }
    )*};
}

impl F32x16 for Avx2F32x16 {
    const WIDE: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller promises the instructions.
        let x = unsafe { _mm256_set1_ps(x) };
        Self(x, x)
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises the instructions and 64 bytes.
        unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        let p: *const __m128i = p.cast();
        // SAFETY: the caller promises the instructions and 32 bytes.
        unsafe {
            Self(
                _mm256_cvtph_ps(_mm_loadu_si128(p)),
                _mm256_cvtph_ps(_mm_loadu_si128(p.add(1))),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        let p: *const __m128i = p.cast();
        // SAFETY: the caller promises the instructions and 32 bytes.
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(1)));
            Self(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            )
        }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 64 bytes; the CPU has AVX2, since there is a value.
        unsafe {
            _mm256_storeu_ps(p, self.0);
            _mm256_storeu_ps(p.add(8), self.1);
        }
    }

    #[inline(always)]
    fn same(self, x: f32) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX2.
        unsafe { Self::splat(x) }
    }

    halves! {
        add = _mm256_add_ps;
        sub = _mm256_sub_ps;
        mul = _mm256_mul_ps;
        div = _mm256_div_ps;
        // The instruction gives its second operand unless the first is greater.
        greater = _mm256_max_ps;
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX2 and FMA.
        unsafe {
            Self(
                _mm256_fmadd_ps(self.0, b.0, c.0),
                _mm256_fmadd_ps(self.1, b.1, c.1),
            )
        }
    }

    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX2.
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, limit.0);
            let high = _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, limit.1);
            Self(
                _mm256_blendv_ps(no.0, yes.0, low),
                _mm256_blendv_ps(no.1, yes.1, high),
            )
        }
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX2.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(
                _mm256_andnot_ps(sign, self.0),
                _mm256_andnot_ps(sign, self.1),
            )
        }
    }

    #[inline(always)]
    fn with_sign(self, from: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX2.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(
                _mm256_or_ps(self.0, _mm256_and_ps(sign, from.0)),
                _mm256_or_ps(self.1, _mm256_and_ps(sign, from.1)),
            )
        }
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX2.
        unsafe {
            let one = _mm256_set1_epi32(ONE);
            let low = _mm256_slli_epi32::<23>(_mm256_castps_si256(self.0));
            let high = _mm256_slli_epi32::<23>(_mm256_castps_si256(self.1));
            Self(
                _mm256_castsi256_ps(_mm256_add_epi32(low, one)),
                _mm256_castsi256_ps(_mm256_add_epi32(high, one)),
            )
        }
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: values of this type exist only where the CPU has AVX2; four floats are
        // written to an array of four.
        unsafe {
            // Lanes 8 apart, then 4 apart: [a, b] and [c, d] of four lanes each.
            let a = _mm256_add_ps(four[0].0, four[0].1);
            let b = _mm256_add_ps(four[1].0, four[1].1);
            let c = _mm256_add_ps(four[2].0, four[2].1);
            let d = _mm256_add_ps(four[3].0, four[3].1);
            let ab = _mm256_add_ps(
                _mm256_permute2f128_ps::<0x20>(a, b),
                _mm256_permute2f128_ps::<0x31>(a, b),
            );
            let cd = _mm256_add_ps(
                _mm256_permute2f128_ps::<0x20>(c, d),
                _mm256_permute2f128_ps::<0x31>(c, d),
            );
            // Neighbours, twice: [a, c, a, c] and [b, d, b, d].
            let pairs = _mm256_hadd_ps(ab, cd);
            let sum = _mm256_hadd_ps(pairs, pairs);
            let ac = _mm256_castps256_ps128(sum);
            let bd = _mm256_extractf128_ps::<1>(sum);
            _mm_storeu_ps(sums.as_mut_ptr(), _mm_unpacklo_ps(ac, bd));
        }
        sums
    }
}

/// All lanes in one register, with AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(super) struct Avx512F32x16(__m512);

/// An operation of two operands.
macro_rules! whole {
    ($($name:ident = $op:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, b: Self) -> Self {
            // SAFETY: a value of this type exists only where the CPU has AVX-512.
            unsafe { Self($op(self.0, b.0)) }
        }
    )*};
}

impl F32x16 for Avx512F32x16 {
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller promises the instructions.
        Self(unsafe { _mm512_set1_ps(x) })
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises the instructions and 64 bytes.
        Self(unsafe { _mm512_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        let p: *const __m256i = p.cast();
        // SAFETY: the caller promises the instructions and 32 bytes.
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p)) })
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        let p: *const __m256i = p.cast();
        // SAFETY: the caller promises the instructions and 32 bytes.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 64 bytes; the CPU has AVX-512, since there is a value.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }

    #[inline(always)]
    fn same(self, x: f32) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX-512.
        unsafe { Self::splat(x) }
    }

    whole! {
        add = _mm512_add_ps;
        sub = _mm512_sub_ps;
        mul = _mm512_mul_ps;
        div = _mm512_div_ps;
        // The instruction gives its second operand unless the first is greater.
        greater = _mm512_max_ps;
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX-512.
        Self(unsafe { _mm512_fmadd_ps(self.0, b.0, c.0) })
    }

    #[inline(always)]
    fn if_less(self, limit: Self, yes: Self, no: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX-512.
        unsafe {
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, limit.0);
            Self(_mm512_mask_blend_ps(less, no.0, yes.0))
        }
    }

    #[inline(always)]
    fn abs(self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX-512.
        unsafe { Self(_mm512_andnot_ps(_mm512_set1_ps(-0.0), self.0)) }
    }

    #[inline(always)]
    fn with_sign(self, from: Self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX-512.
        unsafe {
            let sign = _mm512_and_ps(_mm512_set1_ps(-0.0), from.0);
            Self(_mm512_or_ps(self.0, sign))
        }
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        // SAFETY: a value of this type exists only where the CPU has AVX-512.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
            let bits = _mm512_add_epi32(exponent, _mm512_set1_epi32(ONE));
            Self(_mm512_castsi512_ps(bits))
        }
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        let [Self(a), Self(b), Self(c), Self(d)] = four;
        let mut sums = [0.0; 4];
        // SAFETY: values of this type exist only where the CPU has AVX-512; four floats are
        // written to an array of four.
        unsafe {
            // Lanes 8 apart: quarters [0 + 2, 1 + 3] of a, then of b; the same of c and d.
            let ab = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x44>(a, b),
                _mm512_shuffle_f32x4::<0xee>(a, b),
            );
            let cd = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x44>(c, d),
                _mm512_shuffle_f32x4::<0xee>(c, d),
            );
            // Lanes 4 apart: one quarter each of a, b, c and d.
            let abcd = _mm512_add_ps(
                _mm512_shuffle_f32x4::<0x88>(ab, cd),
                _mm512_shuffle_f32x4::<0xdd>(ab, cd),
            );
            // Neighbours, twice: every lane of a quarter has its sum.
            let pairs = _mm512_add_ps(abcd, _mm512_permute_ps::<0xb1>(abcd));
            let sum = _mm512_add_ps(pairs, _mm512_permute_ps::<0x4e>(pairs));
            let packed = _mm512_maskz_compress_ps(0x1111, sum);
            _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(packed));
        }
        sums
    }
}
