//! The products, written once for all instruction sets.
//!
//! A kernel multiplies one group of rows with the columns of one panel. In each lane of a
//! vector one output is summed, from the first block to the last:
//!
//! - within 32 (or 16) weights as whole numbers, which is exact in any order;
//! - in a block of 256, these sums times their scales, as `f32`: as many as are exact
//!   ([`Code::EXACT`]), twice; the two are added, which rounds once; and what this gives is added
//!   to the rest of the block. So it does not matter either whether such a double run is summed
//!   as `f32` or as a whole number that is rounded at the end (`amx.rs` does that). Where it
//!   would be of no use they are added one after the other;
//! - the blocks as `f32`, by fused multiply-adds with their scale in the order of the weights.
//!
//! So an output has the same bits whatever the number of columns, the instruction set, or the
//! thread.

use self::block::Block;
use crate::kind::{FLOAT_STEP, IQ4};

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod block;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;

/// What the kernels need of an instruction set. A vector has a lane of 32 bits for each of
/// [`Simd::ROWS`] rows.
///
/// # Safety
/// The functions are unsafe because the processor must have the instructions, and because they
/// read and write through pointers, a whole vector or what they say.
pub(crate) trait Simd: Copy + 'static {
    /// Rows of a group.
    const ROWS: usize;
    /// Four bytes per lane.
    type Bytes: Copy;
    /// A whole number per lane.
    type Ints: Copy;
    /// A `f32` per lane.
    type Floats: Copy;
    /// A sum of products of bytes per lane.
    type Acc: Copy;

    /// Asks for the line of 64 bytes that will be read from there; any address will do.
    unsafe fn ask(p: *const u8);
    unsafe fn bytes(p: *const u8) -> Self::Bytes;
    /// The same four bytes in each lane.
    unsafe fn four(p: *const u8) -> Self::Bytes;
    /// The lower halves of the bytes.
    unsafe fn low(b: Self::Bytes) -> Self::Bytes;
    /// The upper halves of the bytes.
    unsafe fn high(b: Self::Bytes) -> Self::Bytes;
    /// `b` with those bits of `plane` that `mask` has once it is shifted by `left` (to the
    /// right if negative). `mask` has only bits that come from the same byte.
    unsafe fn with_bits(b: Self::Bytes, plane: Self::Bytes, left: i32, mask: u8) -> Self::Bytes;
    /// The entries of a table at these places below 16.
    unsafe fn look_up(table: &[u8; 16], b: Self::Bytes) -> Self::Bytes;

    /// A sum that begins with `start`, which makes up for codes that are not negative. Codes
    /// of 8 bits may be taken for signed, without a start: the sum is the same. `bits` are
    /// those of a code, the same constant for a sum.
    unsafe fn start(start: Self::Ints, bits: u32) -> Self::Acc;
    /// Adds the products of codes with activations between -127 and 127. `k` counts from 0 at
    /// the start and is a constant.
    unsafe fn add(
        acc: Self::Acc,
        codes: Self::Bytes,
        activations: Self::Bytes,
        k: usize,
        bits: u32,
    ) -> Self::Acc;
    /// The sum of 4 or 8 steps.
    unsafe fn sum(acc: Self::Acc, bits: u32) -> Self::Floats;

    unsafe fn ints(p: *const u8) -> Self::Ints;
    unsafe fn no_ints() -> Self::Ints;
    unsafe fn same_int(p: *const u8) -> Self::Ints;
    unsafe fn shift_right(i: Self::Ints, bits: u32) -> Self::Ints;
    unsafe fn mask(i: Self::Ints, mask: u32) -> Self::Ints;
    unsafe fn or(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Adds the products of the lower and of the upper halves of 16 bits, with sign.
    unsafe fn add_pairs(sum: Self::Ints, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    unsafe fn float(i: Self::Ints) -> Self::Floats;

    unsafe fn zero() -> Self::Floats;
    unsafe fn floats(p: *const u8) -> Self::Floats;
    unsafe fn halves(p: *const u8) -> Self::Floats;
    unsafe fn brain_halves(p: *const u8) -> Self::Floats;
    /// Signed bytes, one per lane.
    unsafe fn signed_bytes(p: *const u8) -> Self::Floats;
    unsafe fn same(p: *const u8) -> Self::Floats;
    unsafe fn plus(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn times(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    unsafe fn fused(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `c - a * b`, rounded once.
    unsafe fn fused_minus(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    unsafe fn store(p: *mut f32, f: Self::Floats);
}

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

pub(crate) struct Four;
pub(crate) struct FourOfTable;
pub(crate) struct Five;
pub(crate) struct Six;
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

/// Where a kernel reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    /// The headers of a group.
    pub(crate) header: *const u8,
    /// Its codes.
    pub(crate) quants: *const u8,
    /// A panel of as many columns as the kernel is for.
    pub(crate) panel: *const u8,
    /// Blocks of both.
    pub(crate) blocks: usize,
    /// The outputs: a vector for each column.
    pub(crate) out: *mut f32,
}

/// Bytes ahead of the codes at work that are asked for: the processor's own look ahead ends
/// with the vectors that wait for their products.
const AHEAD: usize = 4096;

/// Adds the products of the codes `pairs` of a unit to the columns' sums.
#[inline(always)]
unsafe fn add_unit<S: Simd, Q: Code, const C: usize>(
    acc: &mut [S::Acc; C],
    unit: *const u8,
    pairs: std::ops::Range<usize>,
    panel: *const u8,
) {
    let first = pairs.start;
    // The vectors of a pair end in one line of 64 bytes or in several, and each is asked for.
    let bytes = Q::UNIT * S::ROWS;
    let (from, to) = (bytes * pairs.start / 4, bytes * pairs.end / 4);
    for line in from.div_ceil(64)..to.div_ceil(64) {
        // SAFETY: nothing is read.
        unsafe { S::ask(unit.wrapping_add(AHEAD + 64 * line)) };
    }
    for p in pairs {
        // SAFETY: the unit has four pairs, and the panel eight words of each column.
        unsafe {
            let (even, odd) = Q::pair::<S>(unit, p);
            let k = 2 * (p - first);
            for (c, acc) in acc.iter_mut().enumerate() {
                let a = S::four(panel.add(4 * (2 * p * C + c)));
                *acc = S::add(*acc, even, a, k, Q::BITS);
            }
            for (c, acc) in acc.iter_mut().enumerate() {
                let a = S::four(panel.add(4 * ((2 * p + 1) * C + c)));
                *acc = S::add(*acc, odd, a, k + 1, Q::BITS);
            }
        }
    }
}

/// Blocks of 32 with a scale, and a minimum if `MIN`.
///
/// # Safety
/// `job` is for a matrix of this family with these codes, rows and columns, and the processor
/// has the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn simple<S: Simd, Q: Code, const MIN: bool, const C: usize>(job: Job) {
    let Job {
        mut header,
        mut quants,
        mut panel,
        ..
    } = job;
    // SAFETY: each block is read where the layout and the panel have it, and the pointers do
    // not pass their ends.
    unsafe {
        let mut out = [S::zero(); C];
        for _ in 0..job.blocks {
            let start = S::start(S::no_ints(), Q::BITS);
            let mut acc = [start; C];
            if !MIN {
                for (c, acc) in acc.iter_mut().enumerate() {
                    *acc = S::start(S::same_int(panel.add(4 * (C + c))), Q::BITS);
                }
            }
            add_unit::<S, Q, C>(&mut acc, quants, 0..4, panel.add(8 * C));
            let d = S::halves(header);
            for c in 0..C {
                let scale = S::times(d, S::same(panel.add(4 * c)));
                out[c] = S::fused(S::sum(acc[c], Q::BITS), scale, out[c]);
                if MIN {
                    let m = S::halves(header.add(2 * S::ROWS));
                    let scale = S::times(m, S::same(panel.add(4 * c)));
                    out[c] = S::fused(S::same(panel.add(4 * (C + c))), scale, out[c]);
                }
            }
            header = header.add(S::ROWS * if MIN { 4 } else { 2 });
            quants = quants.add(S::ROWS * Q::UNIT);
            panel = panel.add(40 * C);
        }
        for (c, out) in out.into_iter().enumerate() {
            S::store(job.out.add(c * S::ROWS), out);
        }
    }
}

/// Blocks of 256 with 8 scales and 8 minima of 6 bits.
///
/// # Safety
/// As for [`simple`].
#[inline(always)]
pub(crate) unsafe fn super_min<S: Simd, Q: Code, const C: usize>(job: Job) {
    let Job {
        mut header,
        mut quants,
        mut panel,
        ..
    } = job;
    // SAFETY: as in `simple`.
    unsafe {
        let mut out = [S::zero(); C];
        for _ in 0..job.blocks {
            let words = [0, 1, 2].map(|i| S::ints(header.add(4 * S::ROWS * i)));
            let mut sums = Block::<S, C>::new();
            for j in 0..8 {
                let mut acc = [S::start(S::no_ints(), Q::BITS); C];
                let codes = quants.add(j * S::ROWS * Q::UNIT);
                add_unit::<S, Q, C>(&mut acc, codes, 0..4, panel.add(C * (20 + 32 * j)));
                let scale = S::float(six_bits::<S>(words, j));
                sums.add::<Q>(j, acc, scale);
            }
            let sums = sums.all;
            let d = S::halves(header.add(12 * S::ROWS));
            let m = S::halves(header.add(14 * S::ROWS));
            let pairs = [(words[0], 0), (words[0], 6), (words[1], 0), (words[1], 6)]
                .map(|(word, by)| S::mask(S::shift_right(word, by), 0x003f_003f));
            for c in 0..C {
                let mut mins = S::no_ints();
                for (j, pair) in pairs.into_iter().enumerate() {
                    let sums = S::same_int(panel.add(4 * (C * (1 + j) + c)));
                    mins = S::add_pairs(mins, pair, sums);
                }
                let of_column = S::same(panel.add(4 * c));
                out[c] = S::fused(sums[c], S::times(d, of_column), out[c]);
                out[c] = S::fused_minus(S::float(mins), S::times(m, of_column), out[c]);
            }
            header = header.add(S::ROWS * 16);
            quants = quants.add(S::ROWS * Q::UNIT * 8);
            panel = panel.add(276 * C);
        }
        for (c, out) in out.into_iter().enumerate() {
            S::store(job.out.add(c * S::ROWS), out);
        }
    }
}

/// Scale `j` of [`super_min`]'s words (see `layout.rs`, `six_bits`).
#[inline(always)]
unsafe fn six_bits<S: Simd>([a, b, c]: [S::Ints; 3], j: usize) -> S::Ints {
    // SAFETY: plain arithmetic on vectors.
    unsafe {
        let low = |word, by| S::mask(S::shift_right(word, by), 15);
        let high = |word, by, mask| S::mask(S::shift_right(word, by), mask);
        match j {
            0..5 => S::mask(S::shift_right(c, 6 * j as u32), 63),
            5 => S::or(low(a, 12), high(c, 26, 0x30)),
            6 => S::or(low(a, 28), high(b, 8, 0x30)),
            _ => S::or(low(b, 28), high(b, 10, 0x30)),
        }
    }
}

/// Blocks of 256 with scales of 8 bits for 16 or 32 weights each (`PARTS` of them).
///
/// # Safety
/// As for [`simple`].
#[inline(always)]
pub(crate) unsafe fn scaled<S: Simd, Q: Code, const PARTS: usize, const C: usize>(job: Job) {
    let Job {
        mut header,
        mut quants,
        mut panel,
        ..
    } = job;
    // SAFETY: as in `simple`.
    unsafe {
        let mut out = [S::zero(); C];
        for _ in 0..job.blocks {
            let mut sums = Block::<S, C>::new();
            for j in 0..PARTS {
                let mut acc = [S::start(S::no_ints(), Q::BITS); C];
                for (c, acc) in acc.iter_mut().enumerate() {
                    let start = S::same_int(panel.add(4 * (C * (1 + j) + c)));
                    *acc = S::start(start, Q::BITS);
                }
                let (unit, pairs) = match PARTS {
                    8 => (j, 0..4),
                    _ => (j / 2, 2 * (j % 2)..2 * (j % 2) + 2),
                };
                let codes = quants.add(unit * S::ROWS * Q::UNIT);
                let activations = panel.add(4 * C * (1 + PARTS) + C * 32 * unit);
                add_unit::<S, Q, C>(&mut acc, codes, pairs, activations);
                let scale = S::signed_bytes(header.add(j * S::ROWS));
                sums.add::<Q>(j, acc, scale);
            }
            let sums = sums.all;
            let d = S::halves(header.add(PARTS * S::ROWS));
            for c in 0..C {
                let scale = S::times(d, S::same(panel.add(4 * c)));
                out[c] = S::fused(sums[c], scale, out[c]);
            }
            header = header.add(S::ROWS * (PARTS + 2));
            quants = quants.add(S::ROWS * Q::UNIT * 8);
            panel = panel.add(C * (4 + 4 * PARTS + 256));
        }
        for (c, out) in out.into_iter().enumerate() {
            S::store(job.out.add(c * S::ROWS), out);
        }
    }
}

/// How a plain number is read.
pub(crate) trait Number {
    /// Bytes of one.
    const SIZE: usize;
    /// One for each row.
    ///
    /// # Safety
    /// `p` points to as many.
    unsafe fn read<S: Simd>(p: *const u8) -> S::Floats;
}

pub(crate) struct Single;
pub(crate) struct Half;
pub(crate) struct BrainHalf;

impl Number for Single {
    const SIZE: usize = 4;
    #[inline(always)]
    unsafe fn read<S: Simd>(p: *const u8) -> S::Floats {
        // SAFETY: the caller's.
        unsafe { S::floats(p) }
    }
}

impl Number for Half {
    const SIZE: usize = 2;
    #[inline(always)]
    unsafe fn read<S: Simd>(p: *const u8) -> S::Floats {
        // SAFETY: the caller's.
        unsafe { S::halves(p) }
    }
}

impl Number for BrainHalf {
    const SIZE: usize = 2;
    #[inline(always)]
    unsafe fn read<S: Simd>(p: *const u8) -> S::Floats {
        // SAFETY: the caller's.
        unsafe { S::brain_halves(p) }
    }
}

/// Plain numbers: each step is summed by itself, then added to the rest.
///
/// # Safety
/// As for [`simple`].
#[inline(always)]
pub(crate) unsafe fn plain<S: Simd, N: Number, const C: usize>(job: Job) {
    let Job {
        mut quants,
        mut panel,
        ..
    } = job;
    // SAFETY: as in `simple`.
    unsafe {
        let mut out = [S::zero(); C];
        for _ in 0..job.blocks {
            let mut sums = [S::zero(); C];
            for line in 0..FLOAT_STEP * S::ROWS * N::SIZE / 64 {
                S::ask(quants.wrapping_add(AHEAD + 64 * line));
            }
            for k in 0..FLOAT_STEP {
                let weights = N::read::<S>(quants.add(k * S::ROWS * N::SIZE));
                for (c, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fused(weights, S::same(panel.add(4 * (k * C + c))), *sum);
                }
            }
            for c in 0..C {
                out[c] = S::plus(out[c], sums[c]);
            }
            quants = quants.add(FLOAT_STEP * S::ROWS * N::SIZE);
            panel = panel.add(4 * FLOAT_STEP * C);
        }
        for (c, out) in out.into_iter().enumerate() {
            S::store(job.out.add(c * S::ROWS), out);
        }
    }
}

/// A product of one group with one panel.
pub(crate) type Kernel = unsafe fn(Job);

/// Defines `kernel(kind, columns)`: the kernel of an instruction set, compiled with its
/// features.
macro_rules! kernels {
    ($simd:ty, $columns:tt $(, $feature:literal)?) => {
        /// The kernel for a kind of weights and so many columns.
        pub(crate) fn kernel(kind: $crate::kind::Kind, columns: usize) -> $crate::kernel::Kernel {
            use $crate::kernel::*;
            use $crate::kind::Kind;

            $(#[target_feature(enable = $feature)])?
            unsafe fn run_simple<Q: Code, const MIN: bool, const C: usize>(job: Job) {
                // SAFETY: the caller's, and the features are there.
                unsafe { simple::<$simd, Q, MIN, C>(job) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn run_super_min<Q: Code, const C: usize>(job: Job) {
                // SAFETY: as above.
                unsafe { super_min::<$simd, Q, C>(job) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn run_scaled<Q: Code, const PARTS: usize, const C: usize>(job: Job) {
                // SAFETY: as above.
                unsafe { scaled::<$simd, Q, PARTS, C>(job) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn run_plain<N: Number, const C: usize>(job: Job) {
                // SAFETY: as above.
                unsafe { plain::<$simd, N, C>(job) }
            }
            fn of<const C: usize>(kind: Kind) -> Kernel {
                match kind {
                    Kind::F32 => run_plain::<Single, C>,
                    Kind::F16 => run_plain::<Half, C>,
                    Kind::Bf16 => run_plain::<BrainHalf, C>,
                    Kind::Q4_0 => run_simple::<Four, false, C>,
                    Kind::Q4_1 => run_simple::<Four, true, C>,
                    Kind::Q5_0 => run_simple::<Five, false, C>,
                    Kind::Q5_1 => run_simple::<Five, true, C>,
                    Kind::Q8_0 => run_simple::<Eight, false, C>,
                    Kind::Iq4Nl => run_simple::<FourOfTable, false, C>,
                    Kind::Iq4Xs => run_scaled::<FourOfTable, 8, C>,
                    Kind::Q4K => run_super_min::<Four, C>,
                    Kind::Q5K => run_super_min::<Five, C>,
                    Kind::Q6K => run_scaled::<Six, 16, C>,
                }
            }
            $crate::kernel::kernels!(@columns $columns, kind, columns)
        }
    };
    (@columns 10, $kind:ident, $columns:ident) => {
        match $columns {
            1 => of::<1>($kind),
            2 => of::<2>($kind),
            3 => of::<3>($kind),
            4 => of::<4>($kind),
            5 => of::<5>($kind),
            6 => of::<6>($kind),
            7 => of::<7>($kind),
            8 => of::<8>($kind),
            9 => of::<9>($kind),
            _ => of::<10>($kind),
        }
    };
    (@columns 4, $kind:ident, $columns:ident) => {
        match $columns {
            1 => of::<1>($kind),
            2 => of::<2>($kind),
            3 => of::<3>($kind),
            _ => of::<4>($kind),
        }
    };
}
pub(crate) use kernels;
