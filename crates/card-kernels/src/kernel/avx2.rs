//! AVX2, with and without VNNI: 8 rows.

use std::arch::x86_64::*;

use super::simd::Simd;

/// Without VNNI: products of bytes are added in 16 bits for as long as they fit, then in 32.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// With VNNI.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni;

/// A sum on its way.
#[derive(Clone, Copy)]
pub(crate) struct Sums {
    /// In 16 bits, two for each row.
    short: __m256i,
    /// In 32 bits.
    long: __m256i,
}

/// What both have in common.
macro_rules! common {
    () => {
        const ROWS: usize = 8;
        type Bytes = __m256i;
        type Ints = __m256i;
        type Floats = __m256;

        #[inline(always)]
        unsafe fn ask(p: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
        #[inline(always)]
        unsafe fn bytes(p: *const u8) -> __m256i {
            unsafe { _mm256_loadu_si256(p.cast()) }
        }
        #[inline(always)]
        unsafe fn four(p: *const u8) -> __m256i {
            unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn low(b: __m256i) -> __m256i {
            unsafe { _mm256_and_si256(b, _mm256_set1_epi8(15)) }
        }
        #[inline(always)]
        unsafe fn high(b: __m256i) -> __m256i {
            unsafe { _mm256_and_si256(_mm256_srli_epi16::<4>(b), _mm256_set1_epi8(15)) }
        }
        #[inline(always)]
        unsafe fn with_bits(b: __m256i, plane: __m256i, left: i32, mask: u8) -> __m256i {
            unsafe {
                let shifted = match left {
                    0.. => _mm256_sll_epi16(plane, _mm_cvtsi32_si128(left)),
                    _ => _mm256_srl_epi16(plane, _mm_cvtsi32_si128(-left)),
                };
                _mm256_or_si256(b, _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8)))
            }
        }
        #[inline(always)]
        unsafe fn look_up(table: &[u8; 16], b: __m256i) -> __m256i {
            unsafe {
                let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
                _mm256_shuffle_epi8(table, b)
            }
        }
        #[inline(always)]
        unsafe fn ints(p: *const u8) -> __m256i {
            unsafe { _mm256_loadu_si256(p.cast()) }
        }
        #[inline(always)]
        unsafe fn no_ints() -> __m256i {
            unsafe { _mm256_setzero_si256() }
        }
        #[inline(always)]
        unsafe fn same_int(p: *const u8) -> __m256i {
            unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn shift_right(i: __m256i, bits: u32) -> __m256i {
            unsafe { _mm256_srl_epi32(i, _mm_cvtsi32_si128(bits as i32)) }
        }
        #[inline(always)]
        unsafe fn mask(i: __m256i, mask: u32) -> __m256i {
            unsafe { _mm256_and_si256(i, _mm256_set1_epi32(mask as i32)) }
        }
        #[inline(always)]
        unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_or_si256(a, b) }
        }
        #[inline(always)]
        unsafe fn add_pairs(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
            unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)) }
        }
        #[inline(always)]
        unsafe fn float(i: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(i) }
        }
        #[inline(always)]
        unsafe fn zero() -> __m256 {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn floats(p: *const u8) -> __m256 {
            unsafe { _mm256_loadu_ps(p.cast()) }
        }
        #[inline(always)]
        unsafe fn halves(p: *const u8) -> __m256 {
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
        }
        #[inline(always)]
        unsafe fn brain_halves(p: *const u8) -> __m256 {
            unsafe {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            }
        }
        #[inline(always)]
        unsafe fn signed_bytes(p: *const u8) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn same(p: *const u8) -> __m256 {
            unsafe { _mm256_set1_ps(p.cast::<f32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn plus(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn times(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fused(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn fused_minus(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fnmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, f: __m256) {
            unsafe { _mm256_storeu_ps(p, f) }
        }
    };
}

// SAFETY (of every block here): whoever runs a kernel has looked for AVX2, FMA and F16C, and
// pointers reach as far as the trait says.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    common!();
    type Acc = Sums;

    #[inline(always)]
    unsafe fn start(start: __m256i, bits: u32) -> Sums {
        unsafe {
            let short = _mm256_setzero_si256();
            match bits {
                // Taken for signed below.
                8 => Sums { short, long: short },
                _ => Sums { short, long: start },
            }
        }
    }
    #[inline(always)]
    unsafe fn add(acc: Sums, codes: __m256i, a: __m256i, k: usize, bits: u32) -> Sums {
        let Sums { short, long } = acc;
        unsafe {
            let ones = _mm256_set1_epi16(1);
            if bits == 8 {
                // The left side must not be negative: its sign goes to the right one. Sums of
                // two products are at most 2 * 128 * 127 and fit.
                let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
                let products =
                    _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(a, signed));
                let long = _mm256_add_epi32(long, _mm256_madd_epi16(products, ones));
                return Sums { short, long };
            }
            // 16 bits hold so many sums of two products of codes of 4, 5 and 6 bits:
            // 8 * 2 * 15 * 127, 4 * 2 * 31 * 127 and 2 * 2 * 63 * 127 are below 32768.
            let fit = match bits {
                4 => 8,
                5 => 4,
                _ => 2,
            };
            let products = _mm256_maddubs_epi16(codes, a);
            let short = match k % fit {
                0 => products,
                _ => _mm256_add_epi16(short, products),
            };
            match k % fit == fit - 1 {
                true => Sums {
                    short,
                    long: _mm256_add_epi32(long, _mm256_madd_epi16(short, ones)),
                },
                false => Sums { short, long },
            }
        }
    }
    #[inline(always)]
    unsafe fn sum(acc: Sums, _: u32) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(acc.long) }
    }
}

// SAFETY (of every block here): as above, and whoever runs a kernel has looked for AVX-VNNI.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for AvxVnni {
    common!();
    type Acc = __m256i;

    #[inline(always)]
    unsafe fn start(start: __m256i, _: u32) -> __m256i {
        start
    }
    #[inline(always)]
    unsafe fn add(acc: __m256i, codes: __m256i, a: __m256i, _: usize, _: u32) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(acc, codes, a) }
    }
    #[inline(always)]
    unsafe fn sum(acc: __m256i, _: u32) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(acc) }
    }
}

pub(crate) mod plain {
    crate::kernel::kernels!(crate::kernel::avx2::Avx2, 4, "avx2,fma,f16c");
}

pub(crate) mod vnni {
    crate::kernel::kernels!(crate::kernel::avx2::AvxVnni, 4, "avx2,fma,f16c,avxvnni");
}
