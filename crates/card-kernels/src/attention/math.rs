//! The exponential function, the hyperbolic tangent and the softmax, made of operations that
//! every instruction set rounds alike.

use std::f32::consts::{LN_2, LOG2_E};

use super::lanes::{F32x16, LANES, tree};
use crate::half::f16_to_f32;

/// `e^x` for `x <= 0`, with an error below one unit in the last place; exactly 0 below -87.33,
/// where the result would be a denormal number, and exactly 1 at 0. NaN stays NaN.
#[inline(always)]
pub(super) fn exp<L: F32x16>(x: L) -> L {
    // Adding and subtracting 1.5 * 2^23 rounds to a whole number.
    let magic = x.same(12_582_912.0);
    let shifted = x.fma(x.same(LOG2_E), magic);
    let n = shifted.sub(magic);
    // x - n ln 2, with ln 2 as a sum of two floats; it is within ±0.35.
    let r = n.fma(x.same(-LN_2), x);
    let r = n.fma(x.same(1.9046542e-9), r);
    // The coefficients of Cephes' expf.
    let y = x.same(1.9875691e-4);
    let y = y.fma(r, x.same(1.3981999e-3));
    let y = y.fma(r, x.same(8.333452e-3));
    let y = y.fma(r, x.same(4.1665796e-2));
    let y = y.fma(r, x.same(0.16666666));
    let y = y.fma(r, x.same(0.5));
    let y = y.fma(r, x.same(1.0));
    let y = y.fma(r, x.same(1.0));
    let y = y.mul(shifted.power_of_two());
    x.if_less(x.same(-87.33), x.same(0.0), y)
}

/// The hyperbolic tangent, with an error below two units in the last place.
#[inline(always)]
pub(super) fn tanh<L: F32x16>(x: L) -> L {
    let size = x.abs();
    let one = x.same(1.0);
    // Near 0 a polynomial: the coefficients of Cephes' tanhf.
    let square = size.mul(size);
    let y = x.same(-5.7049887e-3);
    let y = y.fma(square, x.same(2.0639088e-2));
    let y = y.fma(square, x.same(-5.3739715e-2));
    let y = y.fma(square, x.same(0.13331442));
    let y = y.fma(square, x.same(-0.3333328));
    let small = y.mul(square).fma(size, size);
    // Elsewhere (1 - e^-2x) / (1 + e^-2x).
    let e = exp(size.mul(x.same(-2.0)));
    let large = one.sub(e).div(one.add(e));
    size.if_less(x.same(0.625), small, large).with_sign(x)
}

/// How the scores of one row and one head are made from the products `q·k`.
pub(super) struct Scoring {
    /// What the product is multiplied with.
    pub(super) scale: f32,
    /// The limit of the score before the mask is added; 0 for none.
    pub(super) softcap: f32,
    /// The row's mask values, if any of a seen cell is not zero, and what they are multiplied
    /// with.
    pub(super) bias: Option<(*const u16, f32)>,
    /// The head's sink.
    pub(super) sink: Option<f32>,
}

/// Turns the products of the seen cells, in place, into weights `e^(score - largest score)`, and
/// returns what their weighted sum is to be multiplied with: one divided by the sum of the
/// weights and the sink's. It is 0 if there is no cell.
///
/// # Safety
///
/// `s` has `cells.len()` products and room for 15 more floats; the bias has a value for each of
/// `cells`; the CPU has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn soften<L: F32x16>(s: *mut f32, cells: &[u32], how: &Scoring) -> f32 {
    let n = cells.len();
    if n == 0 {
        return 0.0;
    }
    let padded = n.next_multiple_of(LANES);
    // SAFETY: `padded` is at most 15 more than `n`; each cell has its bias.
    unsafe {
        fill(s, n..padded, 0.0);
        scale::<L>(s, padded, how.scale, how.softcap);
        if let Some((mask, slope)) = how.bias {
            for (j, &cell) in cells.iter().enumerate() {
                let value = f16_to_f32(mask.add(cell as usize).read_unaligned());
                *s.add(j) += slope * value;
            }
        }
        // What comes behind the last cell weighs nothing.
        fill(s, n..padded, f32::NEG_INFINITY);
        let mut max = largest::<L>(s, padded);
        if let Some(sink) = how.sink
            && sink > max
        {
            max = sink;
        }
        let mut total = weigh::<L>(s, padded, max);
        if let Some(sink) = how.sink {
            total += exp(L::splat(sink - max)).to_array()[0];
        }
        if total == 0.0 { 0.0 } else { 1.0 / total }
    }
}

/// Writes `x` to a range of floats.
///
/// # Safety
///
/// They may be written.
#[inline(always)]
unsafe fn fill(s: *mut f32, range: std::ops::Range<usize>, x: f32) {
    for j in range {
        // SAFETY: the caller promises that it may be written.
        unsafe { s.add(j).write(x) };
    }
}

/// Multiplies products with the scale and limits them.
///
/// # Safety
///
/// There are `n` floats, a multiple of 16; the CPU has the instructions of `L`.
#[inline(always)]
unsafe fn scale<L: F32x16>(s: *mut f32, n: usize, scale: f32, softcap: f32) {
    for j in (0..n).step_by(LANES) {
        // SAFETY: 16 of the floats that the caller promises.
        unsafe {
            let x = L::load(s.add(j));
            let x = if softcap == 0.0 {
                x.mul(x.same(scale))
            } else {
                tanh(x.mul(x.same(scale / softcap))).mul(x.same(softcap))
            };
            x.store(s.add(j));
        }
    }
}

/// The largest of the scores; NaN is passed over.
///
/// # Safety
///
/// There are `n` floats, a multiple of 16; the CPU has the instructions of `L`.
#[inline(always)]
unsafe fn largest<L: F32x16>(s: *const f32, n: usize) -> f32 {
    // SAFETY: the caller promises the instructions, and the floats, 16 at a time.
    let lanes = unsafe {
        let mut max = L::splat(f32::NEG_INFINITY);
        for j in (0..n).step_by(LANES) {
            max = L::load(s.add(j)).greater(max);
        }
        max.to_array()
    };
    let mut max = f32::NEG_INFINITY;
    for x in lanes {
        if x > max {
            max = x;
        }
    }
    max
}

/// Turns scores into weights, in place, and returns their sum: weight number `j` goes to partial
/// sum `j % 16`.
///
/// # Safety
///
/// There are `n` floats, a multiple of 16; the CPU has the instructions of `L`.
#[inline(always)]
unsafe fn weigh<L: F32x16>(s: *mut f32, n: usize, max: f32) -> f32 {
    // SAFETY: the caller promises the instructions, and the floats, 16 at a time.
    unsafe {
        let mut total = L::splat(0.0);
        for j in (0..n).step_by(LANES) {
            let x = L::load(s.add(j));
            let weight = exp(x.sub(x.same(max)));
            weight.store(s.add(j));
            total = total.add(weight);
        }
        tree(total.to_array())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{F32x16, PortableF32x16};
    use super::{exp, tanh};

    /// One value through a function of lanes.
    fn one(f: impl Fn(PortableF32x16) -> PortableF32x16, x: f32) -> f32 {
        // SAFETY: plain Rust runs on every CPU.
        f(unsafe { PortableF32x16::splat(x) }).to_array()[0]
    }

    /// The error in units of the last place of the expected value.
    fn error(value: f32, expected: f64) -> f64 {
        let power = f32::from_bits((expected as f32).to_bits() & 0x7f80_0000);
        (f64::from(value) - expected).abs() / (f64::from(power) * 2f64.powi(-23))
    }

    #[test]
    fn the_exponential_is_right_to_the_last_place() {
        for i in 0..40_000 {
            let x = -87.3 * (i as f32 / 40_000.0).powi(2);
            let wrong = error(one(exp, x), f64::from(x).exp());
            assert!(wrong < 1.0, "exp({x}) is {wrong} units off");
        }
        assert_eq!(one(exp, 0.0), 1.0);
        assert_eq!(one(exp, -0.0), 1.0);
        for x in [-87.34, -1e3, -1e30, f32::NEG_INFINITY] {
            assert_eq!(one(exp, x).to_bits(), 0, "exp({x})");
        }
        assert!(one(exp, f32::NAN).is_nan());
    }

    #[test]
    fn the_tangent_is_right_to_two_places() {
        for i in 0..40_000 {
            let x = 11.0 * (i as f32 / 40_000.0).powi(2) - 0.5;
            if x == 0.0 {
                continue;
            }
            let wrong = error(one(tanh, x), f64::from(x).tanh());
            assert!(wrong < 2.0, "tanh({x}) is {wrong} units off");
        }
        assert_eq!(one(tanh, 0.0).to_bits(), 0);
        assert_eq!(one(tanh, -0.0).to_bits(), (-0.0f32).to_bits());
        assert_eq!(one(tanh, 1e30), 1.0);
        assert_eq!(one(tanh, f32::NEG_INFINITY), -1.0);
        assert!(one(tanh, f32::NAN).is_nan());
    }
}
