//! Made-up models that agree as often as they shall.

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, Rollback};
use card_core::sampler::{Sampler, Sampling};
use card_core::synthetic::{Synthetic, SyntheticConfig};
use card_core::types::{SequenceId, Token};

/// Size of the vocabulary: enough that a guess is rarely right.
pub const VOCAB: usize = 48;
/// How sure the language is of itself.
const SPREAD: f32 = 2.0;
/// Places at which agreement is measured.
const PLACES: usize = 1500;

/// The target's model.
pub fn target(seed: u64, limits: Limits) -> Synthetic {
    model(seed, 0.0, limits)
}

/// A model that is off the target's language by `noise`.
pub fn model(seed: u64, noise: f32, limits: Limits) -> Synthetic {
    Synthetic::new(SyntheticConfig {
        vocab: VOCAB,
        seed,
        spread: SPREAD,
        noise,
        noise_seed: seed ^ 0x9e37_79b9,
        limits,
    })
}

/// The noise with which a model's first choice is the target's this often.
pub fn noise_for(seed: u64, agreement: f64) -> f32 {
    if agreement >= 1.0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0f32, 8.0f32);
    for _ in 0..12 {
        let middle = (low + high) / 2.0;
        if agreement_of(seed, middle) > agreement {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// How often a model with this noise has the target's first choice.
pub fn agreement_of(seed: u64, noise: f32) -> f64 {
    let limits = Limits {
        context: PLACES as u32 + 1,
        cells: PLACES + 1,
        rows: PLACES,
        leaves: 1,
        rollback: Rollback::Free,
    };
    let mut rng = fastrand::Rng::with_seed(seed);
    let text: Vec<Token> = (0..PLACES).map(|_| rng.u32(..VOCAB as u32)).collect();
    let forward = Forward::chain(SequenceId(0), 0, &text, 0);
    let choices = |noise: f32| -> Vec<usize> {
        let mut model = model(seed, noise, limits);
        if model.forward(&forward).is_err() {
            return Vec::new();
        }
        (0..PLACES).map(|i| best(model.row(i))).collect()
    };
    let same = choices(0.0)
        .iter()
        .zip(choices(noise))
        .filter(|(a, b)| *a == b)
        .count();
    same as f64 / PLACES as f64
}

fn best(logits: &[f32]) -> usize {
    let better = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1);
    logits.iter().enumerate().max_by(better).map_or(0, |b| b.0)
}

/// What plain decoding writes after a prompt: what every schedule must write.
pub fn plain(seed: u64, prompt: &[Token], tokens: u32, params: &Sampling) -> Vec<Token> {
    let length = prompt.len() + tokens as usize;
    let limits = Limits {
        context: length as u32 + 1,
        cells: length + 1,
        rows: prompt.len().max(1),
        leaves: 1,
        rollback: Rollback::Free,
    };
    let mut model = target(seed, limits);
    let mut sampler = Sampler::default();
    let mut text = prompt.to_vec();
    let mut decoded = 0;
    const SEQUENCE: SequenceId = SequenceId(0);
    for _ in 0..tokens {
        let forward = Forward::chain(SEQUENCE, decoded, &text[decoded..], 0);
        if model.forward(&forward).is_err() {
            break;
        }
        let logits = model.row(forward.rows.len() - 1);
        let choice = sampler.choose(params, logits, None, &text, text.len() as u32);
        decoded = text.len();
        text.push(choice.token);
        let commit = KvOp::Commit {
            sequence: SEQUENCE,
            tip: decoded as u64,
            keep_descendants: false,
        };
        if model.apply(commit).is_err() {
            break;
        }
    }
    text.split_off(prompt.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_gives_the_agreement_that_is_asked_for() {
        for wanted in [0.95, 0.85, 0.6] {
            let noise = noise_for(7, wanted);
            // On other text than it was fitted to.
            let got = agreement_of(7, noise);
            assert!((got - wanted).abs() < 0.03, "{wanted}: {got}");
        }
        assert_eq!(noise_for(7, 1.0), 0.0);
    }
}
