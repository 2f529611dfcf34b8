//! What is done with each family of weights.

use std::arch::x86_64::*;

use super::tile::{
    BYTES, Form, LINE, ROWS, Ring, Sides, TILE, UNITS, Unpacked, each_part, multiply,
    multiply_scaled,
};
use crate::kernel::avx512::Avx512;
use crate::kernel::code::Code;
use crate::kernel::simd::Simd;
use crate::kernel::six_bits;
use crate::panel::WIDE;

#[inline(always)]
unsafe fn vector(p: &[f32; ROWS]) -> __m512 {
    // SAFETY: as long as a vector; the caller has looked for AVX-512.
    unsafe { _mm512_loadu_ps(p.as_ptr()) }
}

/// The products of a column.
#[inline(always)]
unsafe fn products(of: *const i32, c: usize) -> __m512 {
    // SAFETY: a line of 64 bytes.
    unsafe { _mm512_cvtepi32_ps(_mm512_load_si512(of.add(c * ROWS).cast())) }
}

/// The products of a column with scaled weights.
#[inline(always)]
unsafe fn scaled_products(of: *const i32, c: usize) -> __m512 {
    // SAFETY: two lines of 64 bytes.
    unsafe {
        let lower = _mm512_load_si512(of.add(c * ROWS).cast());
        let upper = _mm512_load_si512(of.add(TILE + c * ROWS).cast());
        _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32::<8>(upper), lower))
    }
}

/// Lays the codes of unit `u` down without their offset.
#[inline(always)]
unsafe fn put_codes<Q: Code>(unit: *const u8, offset: u8, u: usize, to: &mut Unpacked) {
    // SAFETY: the unit has four pairs, and there is room for eight vectors.
    unsafe {
        let offset = _mm512_set1_epi8(offset as i8);
        for p in 0..4 {
            let (even, odd) = Q::pair::<Avx512>(unit, p);
            let to = to.bytes[0].as_mut_ptr().add(LINE * (8 * u + 2 * p));
            _mm512_store_si512(to.cast(), _mm512_sub_epi8(even, offset));
            _mm512_store_si512(to.add(LINE).cast(), _mm512_sub_epi8(odd, offset));
        }
    }
}

/// Blocks of 32 with a scale, and a minimum if `MIN`.
pub(super) struct Simple<Q, const OFFSET: u8, const MIN: bool>(Q);

impl<Q: Code, const OFFSET: u8, const MIN: bool> Form for Simple<Q, OFFSET, MIN> {
    type Code = Q;
    const PART: usize = 1;
    const TILE: usize = 32;
    const HEADER: usize = UNITS * ROWS * if MIN { 4 } else { 2 };
    const PANEL: usize = UNITS * WIDE * 40;

    #[inline(always)]
    unsafe fn unpack(header: *const u8, quants: *const u8, units: usize, to: &mut Unpacked) {
        for u in 0..units {
            // SAFETY: each block has a vector of halves, or two, and there is room for its eight
            // vectors of codes.
            unsafe {
                let header = header.add(u * Self::HEADER / UNITS);
                Avx512::store(to.scales[u].as_mut_ptr(), Avx512::halves(header));
                if MIN {
                    let m = Avx512::halves(header.add(2 * ROWS));
                    Avx512::store(to.mins[u].as_mut_ptr().cast(), m);
                }
                put_codes::<Q>(quants.add(u * Q::UNIT * ROWS), OFFSET, u, to);
            }
        }
    }

    #[inline(always)]
    unsafe fn make(sides: Sides, part: usize, to: *mut i32) {
        // SAFETY: both sides have this block.
        unsafe {
            let columns = sides.panel.add(WIDE * (40 * part + 8));
            multiply(columns, sides.weights.add(32 * ROWS * part), to);
        }
    }

    #[inline(always)]
    unsafe fn step(now: Sides, next: Option<Sides>, of: &Unpacked, ring: &mut Ring, out: *mut f32) {
        // SAFETY: the panel has as many blocks, the outputs 16 vectors.
        unsafe {
            let mut sums: [__m512; WIDE] =
                std::array::from_fn(|c| _mm512_loadu_ps(out.add(c * ROWS)));
            each_part::<Self>(now, next, ring, |made, u| {
                let panel = now.panel.add(u * 40 * WIDE);
                let d = vector(&of.scales[u]);
                for (c, sum) in sums.iter_mut().enumerate() {
                    let of_column = Avx512::same(panel.add(4 * c));
                    let scale = Avx512::times(d, of_column);
                    *sum = Avx512::fused(products(made, c), scale, *sum);
                    if MIN {
                        let m = Avx512::floats(of.mins[u].as_ptr().cast());
                        let scale = Avx512::times(m, of_column);
                        let of_bytes = Avx512::same(panel.add(4 * (WIDE + c)));
                        *sum = Avx512::fused(of_bytes, scale, *sum);
                    }
                }
            });
            for (c, sum) in sums.into_iter().enumerate() {
                Avx512::store(out.add(c * ROWS), sum);
            }
        }
    }
}

/// Multiplies codes 8p to 8p+7 of a unit with their scale, four bytes for each row, and lays the
/// bytes down. `zero` is what a weight of zero gives, in 16 bits.
#[inline(always)]
unsafe fn put_scaled<Q: Code>(
    unit: *const u8,
    p: usize,
    scale: __m512i,
    zero: __m512i,
    to: [*mut u8; 2],
) {
    /// Places of the lower bytes of 16 bits, first ones of a vector and of another one in turn.
    const LOWER: [u8; LINE] = {
        let mut places = [0; LINE];
        let mut i = 0;
        while i < LINE {
            places[i] = if i % 2 == 0 {
                i as u8
            } else {
                (LINE + i - 1) as u8
            };
            i += 1;
        }
        places
    };
    // SAFETY: the unit has this pair, and there is room for two vectors at each place.
    unsafe {
        let lower = Avx512::bytes(LOWER.as_ptr());
        let upper = _mm512_add_epi8(lower, _mm512_set1_epi8(1));
        let pair = Q::pair::<Avx512>(unit, p);
        for (i, codes) in [pair.0, pair.1].into_iter().enumerate() {
            let even = _mm512_maddubs_epi16(codes, _mm512_maskz_mov_epi8(EVEN, scale));
            let odd = _mm512_maddubs_epi16(codes, _mm512_maskz_mov_epi8(!EVEN, scale));
            let [even, odd] = [even, odd].map(|products| _mm512_sub_epi16(products, zero));
            let low = _mm512_permutex2var_epi8(even, lower, odd);
            let high = _mm512_permutex2var_epi8(even, upper, odd);
            _mm512_store_si512(to[0].add(LINE * i).cast(), low);
            _mm512_store_si512(to[1].add(LINE * i).cast(), high);
        }
    }
}

/// The lowest byte of each row, four times.
#[inline(always)]
unsafe fn four_times(scale: __m512i) -> __m512i {
    // SAFETY: the caller has looked for AVX-512.
    unsafe {
        let lowest = _mm512_set4_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0);
        _mm512_shuffle_epi8(scale, lowest)
    }
}

/// Every other byte.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// The sums of a block of 256, for each column.
#[inline(always)]
unsafe fn block<F: Form>(now: Sides, next: Option<Sides>, ring: &mut Ring) -> [__m512; WIDE] {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [Avx512::zero(); WIDE];
        let now = Sides {
            parts: UNITS / F::PART,
            ..now
        };
        each_part::<F>(now, next, ring, |made, part| {
            for (c, sum) in sums.iter_mut().enumerate() {
                let products = scaled_products(made, c);
                *sum = match part {
                    0 => products,
                    _ => Avx512::plus(*sum, products),
                };
            }
        });
        sums
    }
}

/// Blocks of 256 with 8 scales and 8 minima of 6 bits.
pub(super) struct SuperMin<Q>(Q);

impl<Q: Code> Form for SuperMin<Q> {
    type Code = Q;
    const PART: usize = 2 * Q::EXACT;
    const TILE: usize = 64;
    const HEADER: usize = ROWS * 16;
    const PANEL: usize = 276 * WIDE;

    #[inline(always)]
    unsafe fn unpack(header: *const u8, quants: *const u8, _: usize, to: &mut Unpacked) {
        // SAFETY: the block has three vectors of words, two of halves and eight units.
        unsafe {
            let words = [0, 1, 2].map(|i| Avx512::ints(header.add(4 * ROWS * i)));
            for (j, to) in to.mins[..4].iter_mut().enumerate() {
                let word = Avx512::shift_right(words[j / 2], 6 * (j % 2) as u32);
                let pair = Avx512::mask(word, 0x003f_003f);
                _mm512_storeu_si512(to.as_mut_ptr().cast(), pair);
            }
            for (i, to) in to.block.iter_mut().enumerate() {
                let scale = Avx512::halves(header.add((12 + 2 * i) * ROWS));
                Avx512::store(to.as_mut_ptr(), scale);
            }
            let bytes = [0, 1].map(|i| to.bytes[i].as_mut_ptr());
            for u in 0..UNITS {
                let scale = four_times(six_bits::<Avx512>(words, u));
                let unit = quants.add(u * Q::UNIT * ROWS);
                for p in 0..4 {
                    let to = bytes.map(|b| b.add(LINE * (8 * u + 2 * p)));
                    put_scaled::<Q>(unit, p, scale, Avx512::no_ints(), to);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn make(sides: Sides, part: usize, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe { make_scaled::<Self>(sides, 20, part, to) };
    }

    #[inline(always)]
    unsafe fn step(now: Sides, next: Option<Sides>, of: &Unpacked, ring: &mut Ring, out: *mut f32) {
        // SAFETY: the panel has a block, the outputs 16 vectors.
        unsafe {
            let sums = block::<Self>(now, next, ring);
            let panel = now.panel;
            let [d, m] = [vector(&of.block[0]), vector(&of.block[1])];
            let pairs: [__m512i; 4] =
                std::array::from_fn(|j| Avx512::ints(of.mins[j].as_ptr().cast()));
            for (c, sum) in sums.into_iter().enumerate() {
                let mut mins = Avx512::no_ints();
                for (j, pair) in pairs.into_iter().enumerate() {
                    let sums = Avx512::same_int(panel.add(4 * (WIDE * (1 + j) + c)));
                    mins = Avx512::add_pairs(mins, pair, sums);
                }
                let of_column = Avx512::same(panel.add(4 * c));
                let out = out.add(c * ROWS);
                let sum = Avx512::fused(sum, Avx512::times(d, of_column), _mm512_loadu_ps(out));
                let scale = Avx512::times(m, of_column);
                Avx512::store(out, Avx512::fused_minus(Avx512::float(mins), scale, sum));
            }
        }
    }
}

/// [`Form::make`] for scaled weights. A column has so many bytes before its activations.
#[inline(always)]
unsafe fn make_scaled<F: Form>(sides: Sides, before: usize, part: usize, to: *mut i32) {
    let tiles = F::PART / 2;
    // SAFETY: both sides have these tiles.
    unsafe {
        let columns = sides.panel.add(before * WIDE + part * tiles * BYTES);
        multiply_scaled(columns, sides.weights.add(part * tiles * BYTES), tiles, to);
    }
}

/// Bytes of a column before its activations, in a block with so many scales of 8 bits.
const fn before(parts: usize) -> usize {
    4 * (1 + parts)
}

/// Adds a block of 256 with scales of 8 bits to the outputs.
#[inline(always)]
unsafe fn add_block(sums: [__m512; WIDE], of: &Unpacked, panel: *const u8, out: *mut f32) {
    // SAFETY: the panel has a block, the outputs 16 vectors.
    unsafe {
        let d = vector(&of.block[0]);
        for (c, sum) in sums.into_iter().enumerate() {
            let scale = Avx512::times(d, Avx512::same(panel.add(4 * c)));
            let out = out.add(c * ROWS);
            Avx512::store(out, Avx512::fused(sum, scale, _mm512_loadu_ps(out)));
        }
    }
}

/// Blocks of 256 with 8 scales of 8 bits.
pub(super) struct Scaled8<Q, const OFFSET: u8>(Q);

impl<Q: Code, const OFFSET: u8> Form for Scaled8<Q, OFFSET> {
    type Code = Q;
    const PART: usize = 1;
    const TILE: usize = 32;
    const HEADER: usize = ROWS * (8 + 2);
    const PANEL: usize = (before(8) + 256) * WIDE;

    #[inline(always)]
    unsafe fn unpack(header: *const u8, quants: *const u8, _: usize, to: &mut Unpacked) {
        // SAFETY: the block has eight vectors of bytes, one of halves and eight units.
        unsafe {
            let d = Avx512::halves(header.add(8 * ROWS));
            Avx512::store(to.block[0].as_mut_ptr(), d);
            for u in 0..UNITS {
                let scale = Avx512::signed_bytes(header.add(u * ROWS));
                Avx512::store(to.scales[u].as_mut_ptr(), scale);
                put_codes::<Q>(quants.add(u * Q::UNIT * ROWS), OFFSET, u, to);
            }
        }
    }

    #[inline(always)]
    unsafe fn make(sides: Sides, part: usize, to: *mut i32) {
        // SAFETY: both sides have this part.
        unsafe {
            let columns = sides.panel.add(WIDE * (before(8) + 32 * part));
            multiply(columns, sides.weights.add(32 * ROWS * part), to);
        }
    }

    #[inline(always)]
    unsafe fn step(now: Sides, next: Option<Sides>, of: &Unpacked, ring: &mut Ring, out: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [Avx512::zero(); WIDE];
            each_part::<Self>(now, next, ring, |made, j| {
                let scale = vector(&of.scales[j]);
                for (c, sum) in sums.iter_mut().enumerate() {
                    *sum = Avx512::fused(products(made, c), scale, *sum);
                }
            });
            add_block(sums, of, now.panel, out);
        }
    }
}

/// Blocks of 256 with 16 scales of 8 bits.
pub(super) struct Scaled16<Q, const OFFSET: u8>(Q);

impl<Q: Code, const OFFSET: u8> Form for Scaled16<Q, OFFSET> {
    type Code = Q;
    const PART: usize = Q::EXACT;
    const TILE: usize = 64;
    const HEADER: usize = ROWS * (16 + 2);
    const PANEL: usize = (before(16) + 256) * WIDE;

    #[inline(always)]
    unsafe fn unpack(header: *const u8, quants: *const u8, _: usize, to: &mut Unpacked) {
        // SAFETY: the block has 16 vectors of bytes, one of halves and eight units.
        unsafe {
            let d = Avx512::halves(header.add(16 * ROWS));
            Avx512::store(to.block[0].as_mut_ptr(), d);
            let bytes = [0, 1].map(|i| to.bytes[i].as_mut_ptr());
            for j in 0..16 {
                let scale = _mm512_cvtepi8_epi32(_mm_loadu_si128(header.add(j * ROWS).cast()));
                let scale = four_times(scale);
                let offset = _mm512_set1_epi16(i16::from(OFFSET));
                let zero = _mm512_maddubs_epi16(offset, scale);
                for p in [2 * j, 2 * j + 1] {
                    let to = bytes.map(|b| b.add(LINE * 2 * p));
                    let unit = quants.add(p / 4 * Q::UNIT * ROWS);
                    put_scaled::<Q>(unit, p % 4, scale, zero, to);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn make(sides: Sides, part: usize, to: *mut i32) {
        // SAFETY: the caller's.
        unsafe { make_scaled::<Self>(sides, before(16), part, to) };
    }

    #[inline(always)]
    unsafe fn step(now: Sides, next: Option<Sides>, of: &Unpacked, ring: &mut Ring, out: *mut f32) {
        // SAFETY: the caller's.
        unsafe {
            let sums = block::<Self>(now, next, ring);
            add_block(sums, of, now.panel, out);
        }
    }
}
