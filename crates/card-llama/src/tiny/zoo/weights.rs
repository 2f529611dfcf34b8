//! Made-up weights: seeded, and such that a text depends on all that was read before.

/// Numbers that look random: SplitMix64.
struct Random(u64);

impl Random {
    /// The numbers of one tensor of one model.
    fn of(seed: u64, name: &str) -> Self {
        // FNV-1a.
        let fold = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Random(name.bytes().fold(start, fold))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// About normal, with mean 0 and variance 1: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

/// Where the weights of a tensor lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum WeightSpread {
    /// Normal about a middle.
    About { middle: f32, width: f32 },
    /// Below zero, about `-least` to `-most` evenly: a state decays by these.
    Decay { least: f32, most: f32 },
}

/// A matrix keeps the size of what goes through; norms, scales and the factors of rotary
/// embeddings are about one; logits get a spread of a few units, so that at temperature 1 the text
/// follows the model and not the noise alone.
fn spread(name: &str, row: u64, rows: u64) -> WeightSpread {
    let about = |middle, width| WeightSpread::About { middle, width };
    let has = |part: &str| name.contains(part);
    let fan = |gain: f32| about(0.0, gain / (row.max(1) as f32).sqrt());
    if has("ssm_a") && !has("ssm_alpha") {
        WeightSpread::Decay {
            least: 0.02,
            most: 0.5,
        }
    } else if has("attn_q_norm") || has("attn_k_norm") {
        // Some architectures do not divide scores by the root of the head's width.
        about(0.6, 0.06)
    } else if has("rope_f")
        || has("scale")
        || (name.ends_with(".weight") && (has("norm") || has("ln")))
    {
        about(1.0, 0.1)
    } else if has("token_embd") {
        // Some architectures multiply them by the root of their width, and some use them for the
        // logits too.
        about(0.0, 0.1)
    } else if name == "output.weight" {
        fan(4.0)
    } else if has("conv1d") || has("shortconv.conv") {
        // As many weights as taps, which are few.
        about(0.3, 0.3)
    } else if rows > 1 {
        let others = ["attn", "ssm", "time_mix", "shortconv"];
        if has("attn_q") || has("attn_k") {
            // A token looks at some others, neither at all of them nor at one.
            fan(1.2)
        } else if others.into_iter().any(has) {
            // What comes from other tokens weighs more than what comes from the token itself.
            fan(1.5)
        } else {
            fan(0.7)
        }
    } else {
        about(0.0, 0.1)
    }
}

/// The weights of a tensor, row after row.
pub(crate) fn weights(seed: u64, name: &str, shape: &[u64]) -> Vec<f32> {
    let row = shape.first().copied().unwrap_or(1);
    let all = shape.iter().product::<u64>();
    let spread = spread(name, row, all / row.max(1));
    let mut random = Random::of(seed, name);
    let weight = |_| match spread {
        WeightSpread::About { middle, width } => middle + width * random.normal(),
        WeightSpread::Decay { least, most } => -(least + (most - least) * random.uniform()),
    };
    (0..all).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_seed_and_the_name() {
        let some = weights(1, "blk.0.attn_q.weight", &[64, 64]);
        assert_eq!(some, weights(1, "blk.0.attn_q.weight", &[64, 64]));
        assert_ne!(some, weights(2, "blk.0.attn_q.weight", &[64, 64]));
        assert_ne!(some, weights(1, "blk.1.attn_q.weight", &[64, 64]));
        let mean = some.iter().sum::<f32>() / some.len() as f32;
        let variance = some.iter().map(|w| w * w).sum::<f32>() / some.len() as f32;
        assert!(mean.abs() < 0.02, "{mean}");
        // 1.2 squared by 64.
        assert!((variance - 0.0225).abs() < 0.003, "{variance}");
    }

    #[test]
    fn states_decay_and_norms_keep_the_size() {
        let decay = weights(1, "blk.0.ssm_a", &[1, 16]);
        assert!(decay.iter().all(|w| (-0.5..-0.01).contains(w)), "{decay:?}");
        let norm = weights(1, "blk.0.attn_norm.weight", &[256]);
        let mean = norm.iter().sum::<f32>() / norm.len() as f32;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
    }
}
