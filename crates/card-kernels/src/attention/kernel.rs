//! The inner loops: products of queries with keys, and weighted sums of values. Both take up to
//! four pairs of a row and a head at once, so that a load of K or V serves them all, and keep
//! their sums in registers.
//!
//! How many pairs and cells go together changes the order in which independent sums are worked
//! on, never the order inside one sum.

// Several arrays are indexed by one number that is known when the code is compiled.
#![allow(clippy::needless_range_loop)]

use super::kv::{Bf16, Cells, F16, F32, KvType};
use super::lanes::{F32x16, LANES};

/// Pairs of a row and a head in a unit of work, at most.
pub(super) const PAIRS: usize = 8;
/// Pairs of a row and a head that one call of a kernel takes, at most.
pub(super) const QUAD: usize = 4;

/// Products of `n` queries (1 to 4) of `len` elements with the rows of a block: query `i` and
/// row `j` give `out[i][j]`. The queries are padded with zeros to a multiple of 16 elements.
///
/// # Safety
///
/// The first `n` queries and outputs have room for this; the rows are decoded if `kind` is a
/// quantised type, and have `len` elements; the CPU has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn products<L: F32x16>(
    kind: KvType,
    n: usize,
    q: &[*const f32; QUAD],
    rows: &[*const u8],
    out: &[*mut f32; QUAD],
    len: usize,
) {
    // SAFETY: the caller's promises are passed on.
    unsafe {
        match kind {
            KvType::F16 => products_of::<L, F16>(n, q, rows, out, len),
            KvType::Bf16 => products_of::<L, Bf16>(n, q, rows, out, len),
            KvType::F32 | KvType::Q8_0 | KvType::Q4_0 => {
                products_of::<L, F32>(n, q, rows, out, len);
            }
        }
    }
}

/// [`products`] with rows of one type. Wide CPUs have registers for 16 sums at once; the others
/// for four, which is what they need to be busy.
///
/// # Safety
///
/// As for [`products`].
#[inline(always)]
unsafe fn products_of<L: F32x16, K: Cells>(
    n: usize,
    q: &[*const f32; QUAD],
    rows: &[*const u8],
    out: &[*mut f32; QUAD],
    len: usize,
) {
    // SAFETY: the caller's promises are passed on; no arm takes more pairs than `n`.
    unsafe {
        match (n, L::WIDE) {
            (1, false) => products_by::<L, K, 1, 4>(q, rows, out, len),
            (2, false) => products_by::<L, K, 2, 2>(q, rows, out, len),
            (3, false) => products_by::<L, K, 3, 1>(q, rows, out, len),
            (4, false) => products_by::<L, K, 4, 1>(q, rows, out, len),
            (1, true) => products_by::<L, K, 1, 8>(q, rows, out, len),
            (2, true) => products_by::<L, K, 2, 4>(q, rows, out, len),
            (3, true) => products_by::<L, K, 3, 4>(q, rows, out, len),
            (4, true) => products_by::<L, K, 4, 4>(q, rows, out, len),
            _ => unreachable!("a kernel takes 1 to 4 pairs"),
        }
    }
}

/// Products of `P` queries with the rows, `C` rows at a time, the last ones one by one.
///
/// # Safety
///
/// As for [`products`].
#[inline(always)]
unsafe fn products_by<L: F32x16, K: Cells, const P: usize, const C: usize>(
    q: &[*const f32; QUAD],
    rows: &[*const u8],
    out: &[*mut f32; QUAD],
    len: usize,
) {
    let mut j = 0;
    let whole = rows.len() - rows.len() % C;
    while j < whole {
        // SAFETY: `C` rows from `j` on exist.
        unsafe { products_at::<L, K, P, C>(q, rows.as_ptr().add(j), out, j, len) };
        j += C;
    }
    while j < rows.len() {
        // SAFETY: row `j` exists.
        unsafe { products_at::<L, K, P, 1>(q, rows.as_ptr().add(j), out, j, len) };
        j += 1;
    }
}

/// Products of `P` queries with `C` rows, written from place `j` on.
///
/// # Safety
///
/// As for [`products`]; there are `C` rows.
#[inline(always)]
unsafe fn products_at<L: F32x16, K: Cells, const P: usize, const C: usize>(
    q: &[*const f32; QUAD],
    rows: *const *const u8,
    out: &[*mut f32; QUAD],
    j: usize,
    len: usize,
) {
    // SAFETY: elements below `len` of rows and queries exist, and those of queries up to the
    // next multiple of 16; outputs have room for place `j + C - 1`.
    unsafe {
        let zero = L::splat(0.0);
        let mut sums = [[zero; C]; P];
        let mut at = 0;
        for _ in 0..len / LANES {
            // The fewer operands stay in registers, the others come one by one.
            if P <= C {
                let mut x = [zero; P];
                for p in 0..P {
                    x[p] = L::load(q[p].add(at));
                }
                for c in 0..C {
                    let k = K::load(*rows.add(c), at);
                    for p in 0..P {
                        sums[p][c] = x[p].fma(k, sums[p][c]);
                    }
                }
            } else {
                let mut k = [zero; C];
                for c in 0..C {
                    k[c] = K::load(*rows.add(c), at);
                }
                for p in 0..P {
                    let x = L::load(q[p].add(at));
                    for c in 0..C {
                        sums[p][c] = x.fma(k[c], sums[p][c]);
                    }
                }
            }
            at += LANES;
        }
        if at < len {
            for c in 0..C {
                let k: L = K::load_tail(*rows.add(c), at, len - at);
                for p in 0..P {
                    sums[p][c] = L::load(q[p].add(at)).fma(k, sums[p][c]);
                }
            }
        }
        // The sums of lanes of four vectors are taken together.
        for group in 0..(P * C).div_ceil(4) {
            let mut four = [zero; 4];
            for i in 0..4 {
                let number = group * 4 + i;
                if number < P * C {
                    four[i] = sums[number / C][number % C];
                }
            }
            let four = L::sums(four);
            for i in 0..4 {
                let number = group * 4 + i;
                if number < P * C {
                    out[number / C].add(j + number % C).write(four[i]);
                }
            }
        }
    }
}

/// Adds the rows of a block, weighted, to `n` outputs (1 to 4) of `len` elements: output `i`
/// takes row `j` times `weights[i][j]`, one row after the other. The outputs have room for a
/// multiple of 16 elements.
///
/// # Safety
///
/// The first `n` weights and outputs have room for this; the rows are decoded if `kind` is a
/// quantised type, and have `len` elements; the CPU has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn weighted<L: F32x16>(
    kind: KvType,
    n: usize,
    weights: &[*const f32; QUAD],
    rows: &[*const u8],
    out: &[*mut f32; QUAD],
    len: usize,
) {
    // SAFETY: the caller's promises are passed on.
    unsafe {
        match kind {
            KvType::F16 => weighted_of::<L, F16>(n, weights, rows, out, len),
            KvType::Bf16 => weighted_of::<L, Bf16>(n, weights, rows, out, len),
            KvType::F32 | KvType::Q8_0 | KvType::Q4_0 => {
                weighted_of::<L, F32>(n, weights, rows, out, len);
            }
        }
    }
}

/// [`weighted`] with rows of one type.
///
/// # Safety
///
/// As for [`weighted`].
#[inline(always)]
unsafe fn weighted_of<L: F32x16, V: Cells>(
    n: usize,
    weights: &[*const f32; QUAD],
    rows: &[*const u8],
    out: &[*mut f32; QUAD],
    len: usize,
) {
    // SAFETY: the caller's promises are passed on; no arm takes more pairs than `n`.
    unsafe {
        match (n, L::WIDE) {
            (1, false) => weighted_by::<L, V, 1, 4>(weights, rows, out, len),
            (2, false) => weighted_by::<L, V, 2, 2>(weights, rows, out, len),
            (3, false) => weighted_by::<L, V, 3, 1>(weights, rows, out, len),
            (4, false) => weighted_by::<L, V, 4, 1>(weights, rows, out, len),
            (1, true) => weighted_by::<L, V, 1, 8>(weights, rows, out, len),
            (2, true) => weighted_by::<L, V, 2, 4>(weights, rows, out, len),
            (3, true) => weighted_by::<L, V, 3, 4>(weights, rows, out, len),
            (4, true) => weighted_by::<L, V, 4, 4>(weights, rows, out, len),
            _ => unreachable!("a kernel takes 1 to 4 pairs"),
        }
    }
}

/// Weighted sums for `P` outputs, `T` times 16 elements at a time, the last ones 16 by 16.
///
/// # Safety
///
/// As for [`weighted`].
#[inline(always)]
unsafe fn weighted_by<L: F32x16, V: Cells, const P: usize, const T: usize>(
    weights: &[*const f32; QUAD],
    rows: &[*const u8],
    out: &[*mut f32; QUAD],
    len: usize,
) {
    let groups = len / LANES;
    let mut group = 0;
    while group < groups - groups % T {
        // SAFETY: elements up to `(group + T) * 16` exist.
        unsafe { weighted_at::<L, V, P, T>(weights, rows, out, group * LANES, 0) };
        group += T;
    }
    while group < groups {
        // SAFETY: elements up to `(group + 1) * 16` exist.
        unsafe { weighted_at::<L, V, P, 1>(weights, rows, out, group * LANES, 0) };
        group += 1;
    }
    if !len.is_multiple_of(LANES) {
        let tail = len % LANES;
        // SAFETY: `tail` elements are left, and outputs have room for 16.
        unsafe { weighted_at::<L, V, P, 1>(weights, rows, out, group * LANES, tail) };
    }
}

/// Sixteen elements of a row, or `tail` elements and zeros if `tail` is not 0.
///
/// # Safety
///
/// The row has these elements, and the CPU has the instructions of `L`.
#[inline(always)]
unsafe fn elements<L: F32x16, V: Cells>(row: *const u8, at: usize, tail: usize) -> L {
    // SAFETY: the caller's promises are passed on.
    unsafe {
        if tail == 0 {
            V::load(row, at)
        } else {
            V::load_tail(row, at, tail)
        }
    }
}

/// Weighted sums for `P` outputs of `T` times 16 elements from `at` on; of `tail` elements, with
/// `T` 1, if `tail` is not 0.
///
/// # Safety
///
/// As for [`weighted`]; the rows have these elements.
#[inline(always)]
unsafe fn weighted_at<L: F32x16, V: Cells, const P: usize, const T: usize>(
    weights: &[*const f32; QUAD],
    rows: &[*const u8],
    out: &[*mut f32; QUAD],
    at: usize,
    tail: usize,
) {
    // SAFETY: the rows have the elements that are read, each weight list has one for each row,
    // and outputs have room up to the next multiple of 16 elements.
    unsafe {
        let zero = L::splat(0.0);
        let mut sums = [[zero; T]; P];
        for p in 0..P {
            for t in 0..T {
                sums[p][t] = L::load(out[p].add(at + t * LANES));
            }
        }
        for (j, &row) in rows.iter().enumerate() {
            // The fewer operands stay in registers, the others come one by one.
            if P <= T {
                let mut weight = [zero; P];
                for p in 0..P {
                    weight[p] = L::splat(*weights[p].add(j));
                }
                for t in 0..T {
                    let v = elements::<L, V>(row, at + t * LANES, tail);
                    for p in 0..P {
                        sums[p][t] = weight[p].fma(v, sums[p][t]);
                    }
                }
            } else {
                let mut v = [zero; T];
                for t in 0..T {
                    v[t] = elements::<L, V>(row, at + t * LANES, tail);
                }
                for p in 0..P {
                    let weight = L::splat(*weights[p].add(j));
                    for t in 0..T {
                        sums[p][t] = weight.fma(v[t], sums[p][t]);
                    }
                }
            }
        }
        for p in 0..P {
            for t in 0..T {
                sums[p][t].store(out[p].add(at + t * LANES));
            }
        }
    }
}
