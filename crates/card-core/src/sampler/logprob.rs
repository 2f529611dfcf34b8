//! What the model thought of a token, as a client sees it.

use serde::{Deserialize, Serialize};

use super::best::best_k;
use super::softmax::sum_exp;
use crate::types::Token;

/// What the model thought of a token: natural logarithms of probabilities.
///
/// ```
/// use card_core::sampler::Logprob;
///
/// let logits = [1.0, 3.0, 2.0];
/// let logprob = Logprob::of(&logits, 2, 2);
/// let best: Vec<u32> = logprob.top.iter().map(|top| top.0).collect();
/// assert_eq!(best, [1, 2]);
/// assert_eq!(logprob.logprob, logprob.top[1].1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logprob {
    /// The token.
    pub token: Token,
    /// The logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens with the logarithms of their probabilities, the best first.
    pub top: Vec<(Token, f32)>,
}

impl Logprob {
    /// The most tokens that can be asked for beside the one that was written.
    pub const MOST: usize = 256;
    /// The logarithm that is given for an impossible token, as OpenAI does: −∞ is no JSON.
    pub const LEAST: f32 = -9999.0;

    /// What `logits` (length: vocabulary) say of `token` and of the `top` most probable tokens.
    pub fn of(logits: &[f32], token: Token, top: usize) -> Self {
        let top = top.min(Logprob::MOST);
        let mut best = Vec::new();
        best_k(logits, top.max(1), &mut best);
        let max = best.first().map_or(0.0, |b| b.0.min(f32::MAX));
        let whole = max + sum_exp(logits, max).ln();
        let of = |logit: f32| {
            if logit > f32::NEG_INFINITY {
                (logit.min(f32::MAX) - whole).clamp(Logprob::LEAST, 0.0)
            } else {
                Logprob::LEAST
            }
        };
        let own = logits.get(token as usize).copied();
        Logprob {
            token,
            logprob: of(own.unwrap_or(f32::NEG_INFINITY)),
            top: best.iter().take(top).map(|b| (b.1, of(b.0))).collect(),
        }
    }
}
