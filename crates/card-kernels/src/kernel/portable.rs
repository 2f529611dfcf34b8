//! The kernels in plain Rust: what the others are compared with.

use super::simd::Simd;
use crate::half::{bf16_to_f32, f16_to_f32};

/// Vectors of `R` rows in arrays.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const R: usize>;

/// Reads a value of up to 4 bytes from anywhere.
unsafe fn read<T: Copy>(p: *const u8, i: usize) -> T {
    // SAFETY: the caller's pointer has more than `i` values.
    unsafe { p.cast::<T>().add(i).read_unaligned() }
}

impl<const R: usize> Simd for Portable<R> {
    const ROWS: usize = R;
    type Bytes = [[u8; 4]; R];
    type Ints = [i32; R];
    type Floats = [f32; R];
    type Acc = [i32; R];

    unsafe fn ask(_: *const u8) {}
    unsafe fn bytes(p: *const u8) -> Self::Bytes {
        // SAFETY: the caller's.
        std::array::from_fn(|r| unsafe { read(p, r) })
    }
    unsafe fn four(p: *const u8) -> Self::Bytes {
        // SAFETY: the caller's.
        [unsafe { read(p, 0) }; R]
    }
    unsafe fn low(b: Self::Bytes) -> Self::Bytes {
        b.map(|four| four.map(|x| x & 15))
    }
    unsafe fn high(b: Self::Bytes) -> Self::Bytes {
        b.map(|four| four.map(|x| x >> 4))
    }
    unsafe fn with_bits(b: Self::Bytes, plane: Self::Bytes, left: i32, mask: u8) -> Self::Bytes {
        let shifted = |x: u8| match left {
            0.. => x << left,
            _ => x >> -left,
        };
        std::array::from_fn(|r| std::array::from_fn(|i| b[r][i] | shifted(plane[r][i]) & mask))
    }
    unsafe fn look_up(table: &[u8; 16], b: Self::Bytes) -> Self::Bytes {
        b.map(|four| four.map(|x| table[usize::from(x)]))
    }
    unsafe fn start(start: Self::Ints, _: u32) -> Self::Acc {
        start
    }
    // Not inlined: LLVM's vectoriser of straight-line code makes wrong sums of these products on
    // AVX-512 when it sees a whole kernel (rustc 1.95; right without `slp-vectorizer`).
    #[inline(never)]
    unsafe fn add(acc: Self::Acc, b: Self::Bytes, a: Self::Bytes, _: usize, _: u32) -> Self::Acc {
        std::array::from_fn(|r| {
            let products = (0..4).map(|i| i32::from(b[r][i]) * i32::from(a[r][i] as i8));
            acc[r] + products.sum::<i32>()
        })
    }
    unsafe fn sum(acc: Self::Acc, _: u32) -> Self::Floats {
        acc.map(|x| x as f32)
    }
    unsafe fn ints(p: *const u8) -> Self::Ints {
        // SAFETY: the caller's.
        std::array::from_fn(|r| unsafe { read(p, r) })
    }
    unsafe fn no_ints() -> Self::Ints {
        [0; R]
    }
    unsafe fn same_int(p: *const u8) -> Self::Ints {
        // SAFETY: the caller's.
        [unsafe { read(p, 0) }; R]
    }
    unsafe fn shift_right(i: Self::Ints, bits: u32) -> Self::Ints {
        i.map(|x| (x as u32 >> bits) as i32)
    }
    unsafe fn mask(i: Self::Ints, mask: u32) -> Self::Ints {
        i.map(|x| x & mask as i32)
    }
    unsafe fn or(a: Self::Ints, b: Self::Ints) -> Self::Ints {
        std::array::from_fn(|r| a[r] | b[r])
    }
    unsafe fn add_pairs(sum: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints {
        let low = |x: i32| i32::from(x as i16);
        std::array::from_fn(|r| sum[r] + low(a[r]) * low(b[r]) + (a[r] >> 16) * (b[r] >> 16))
    }
    unsafe fn float(i: Self::Ints) -> Self::Floats {
        i.map(|x| x as f32)
    }
    unsafe fn zero() -> Self::Floats {
        [0.0; R]
    }
    unsafe fn floats(p: *const u8) -> Self::Floats {
        // SAFETY: the caller's.
        std::array::from_fn(|r| unsafe { read(p, r) })
    }
    unsafe fn halves(p: *const u8) -> Self::Floats {
        // SAFETY: the caller's.
        std::array::from_fn(|r| f16_to_f32(unsafe { read(p, r) }))
    }
    unsafe fn brain_halves(p: *const u8) -> Self::Floats {
        // SAFETY: the caller's.
        std::array::from_fn(|r| bf16_to_f32(unsafe { read(p, r) }))
    }
    unsafe fn signed_bytes(p: *const u8) -> Self::Floats {
        // SAFETY: the caller's.
        std::array::from_fn(|r| f32::from(unsafe { read::<i8>(p, r) }))
    }
    unsafe fn same(p: *const u8) -> Self::Floats {
        // SAFETY: the caller's.
        [unsafe { read(p, 0) }; R]
    }
    unsafe fn plus(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|r| a[r] + b[r])
    }
    unsafe fn times(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|r| a[r] * b[r])
    }
    unsafe fn fused(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|r| a[r].mul_add(b[r], c[r]))
    }
    unsafe fn fused_minus(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|r| (-a[r]).mul_add(b[r], c[r]))
    }
    unsafe fn store(p: *mut f32, f: Self::Floats) {
        for (r, x) in f.into_iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { p.add(r).write(x) }
        }
    }
}

/// Rows side by side as on AVX2 and NEON.
pub(crate) mod of_8 {
    crate::kernel::kernels!(crate::kernel::portable::Portable<8>, 4);
}

/// Rows side by side as with AVX-512.
pub(crate) mod of_16 {
    crate::kernel::kernels!(crate::kernel::portable::Portable<16>, 10);
}
