//! AVX-512 with VNNI: 16 rows, 64 products of bytes in an instruction.

use std::arch::x86_64::*;

use super::simd::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Avx512;

// SAFETY (of every block here): whoever runs a kernel has looked for AVX-512 F, BW, DQ, VL and
// VNNI, and pointers reach as far as the trait says.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    const ROWS: usize = 16;
    type Bytes = __m512i;
    type Ints = __m512i;
    type Floats = __m512;
    type Acc = __m512i;

    #[inline(always)]
    unsafe fn ask(p: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn bytes(p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn four(p: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn low(b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(b, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn high(b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(b), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn with_bits(b: __m512i, plane: __m512i, left: i32, mask: u8) -> __m512i {
        unsafe {
            let shifted = match left {
                0.. => _mm512_sll_epi16(plane, _mm_cvtsi32_si128(left)),
                _ => _mm512_srl_epi16(plane, _mm_cvtsi32_si128(-left)),
            };
            // b | shifted & mask
            _mm512_ternarylogic_epi32::<0xf8>(b, shifted, _mm512_set1_epi8(mask as i8))
        }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[u8; 16], b: __m512i) -> __m512i {
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, b)
        }
    }
    #[inline(always)]
    unsafe fn start(start: __m512i, _: u32) -> __m512i {
        start
    }
    #[inline(always)]
    unsafe fn add(acc: __m512i, codes: __m512i, a: __m512i, _: usize, _: u32) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(acc, codes, a) }
    }
    #[inline(always)]
    unsafe fn sum(acc: __m512i, _: u32) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(acc) }
    }
    #[inline(always)]
    unsafe fn ints(p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn no_ints() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn same_int(p: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn shift_right(i: __m512i, bits: u32) -> __m512i {
        unsafe { _mm512_srl_epi32(i, _mm_cvtsi32_si128(bits as i32)) }
    }
    #[inline(always)]
    unsafe fn mask(i: __m512i, mask: u32) -> __m512i {
        unsafe { _mm512_and_si512(i, _mm512_set1_epi32(mask as i32)) }
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    unsafe fn add_pairs(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn float(i: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(i) }
    }
    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn floats(p: *const u8) -> __m512 {
        unsafe { _mm512_loadu_ps(p.cast()) }
    }
    #[inline(always)]
    unsafe fn halves(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn brain_halves(p: *const u8) -> __m512 {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn signed_bytes(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn same(p: *const u8) -> __m512 {
        unsafe { _mm512_set1_ps(p.cast::<f32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn plus(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn times(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fused(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn fused_minus(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, f: __m512) {
        unsafe { _mm512_storeu_ps(p, f) }
    }
}

crate::kernel::kernels!(
    crate::kernel::avx512::Avx512,
    10,
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
);
