//! Gumbel noise, a function of (seed, position, token).
//!
//! The target and its drafters use the same noise. So a drafter that adds it to its own logits
//! agrees with the target as often as two models can: a coupling of the two distributions.

use crate::types::Token;

/// Standard Gumbel noise for one token at one position. It is a function, not a stream: the same
/// arguments always give the same noise, whatever was drawn before.
///
/// ```
/// use card_core::sampler::gumbel;
///
/// assert_eq!(gumbel(7, 3, 100), gumbel(7, 3, 100));
/// assert_ne!(gumbel(7, 3, 100), gumbel(7, 4, 100));
/// ```
pub fn gumbel(seed: u64, position: u32, token: Token) -> f32 {
    let mut x = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
    x = mix(x ^ u64::from(position));
    x = mix(x ^ u64::from(token).wrapping_mul(0xff51_afd7_ed55_8ccd));
    // 53 bits in (0, 1): neither end can come up.
    let u = ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (-(-u.ln()).ln()) as f32
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
