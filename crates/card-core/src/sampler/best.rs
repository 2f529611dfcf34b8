//! The largest logits, found at vector speed.

use std::cmp::Ordering;

use crate::types::Token;

/// Logits that are looked at together. Most chunks hold nothing new, which their maximum tells
/// at vector speed.
const CHUNK: usize = 256;

/// The order of falling logits. Among equal ones the smaller token comes first, so that ties are
/// decided too.
pub(super) fn descending(a: &(f32, Token), b: &(f32, Token)) -> Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

/// The token of the largest logit, and by how much that is larger than the second; `None` if no
/// logit is a number above −∞.
pub(super) fn two_best(logits: &[f32]) -> Option<(Token, f64)> {
    let mut best = (f32::NEG_INFINITY, 0);
    let mut second = f32::NEG_INFINITY;
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        if maximum(chunk) <= second {
            continue;
        }
        for (j, &logit) in chunk.iter().enumerate() {
            if logit > best.0 {
                second = best.0;
                best = (logit, i * CHUNK + j);
            } else if logit > second {
                second = logit;
            }
        }
    }
    // The difference of two infinite logits would be no number.
    let margin = if best.0 == second {
        0.0
    } else {
        f64::from(best.0) - f64::from(second)
    };
    (best.0 > f32::NEG_INFINITY).then_some((best.1 as Token, margin))
}

/// The largest value; −∞ if there is none. Lanes side by side let the compiler use vectors.
pub(super) fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut chunks = values.chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    let all = lanes.iter().chain(chunks.remainder());
    all.fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

/// Finds the `k` largest logits (at least one) with their tokens, the largest first. Logits that
/// are −∞ or no number are never among them.
pub(super) fn best_k(logits: &[f32], k: usize, out: &mut Vec<(f32, Token)>) {
    out.clear();
    let k = k.max(1);
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        if out.len() == k && maximum(chunk) <= out[k - 1].0 {
            continue;
        }
        for (j, &logit) in chunk.iter().enumerate() {
            let least = if out.len() == k {
                out[k - 1].0
            } else {
                f32::NEG_INFINITY
            };
            // A logit that is no number is not larger than anything.
            let counts = logit > least;
            if !counts {
                continue;
            }
            let at = out.partition_point(|e| e.0 >= logit);
            out.insert(at, (logit, (i * CHUNK + j) as Token));
            out.truncate(k);
        }
    }
}
