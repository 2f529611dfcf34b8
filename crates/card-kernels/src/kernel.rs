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

use self::block::BlockSums;
pub(crate) use self::code::{Code, Eight, Five, Four, FourOfTable, Six};
use self::simd::Simd;
use crate::kind::FLOAT_STEP;

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod block;
mod code;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;
mod simd;

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
            let mut sums = BlockSums::<S, C>::new();
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
            let mut sums = BlockSums::<S, C>::new();
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
