//! The sum of exponentials that a softmax divides by.

use wide::f32x16;

use super::filter::FLOOR;

/// The sum of e^(logit − `max`) over the logits, where `max` is the largest of them. A drafter
/// needs the sum for each of its steps, over the whole vocabulary.
pub(super) fn sum_exp(logits: &[f32], max: f32) -> f32 {
    let term = |x: f32x16| {
        // What is far below the maximum adds nothing, nor does what is no number. Only +∞ is
        // above the maximum, and counts as the largest number.
        let counts = x.simd_gt(f32x16::splat(-FLOOR));
        counts.select(x.fast_min(f32x16::ZERO).exp(), f32x16::ZERO)
    };
    let (chunks, rest) = logits.as_chunks();
    let mut last = [f32::NEG_INFINITY; 16];
    last[..rest.len()].copy_from_slice(rest);
    let chunks = chunks.iter().chain([&last]);
    let sum = chunks.fold(f32x16::ZERO, |sum, chunk| {
        sum + term(f32x16::new(*chunk) - f32x16::splat(max))
    });
    sum.reduce_add()
}
