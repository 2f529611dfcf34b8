//! One probability out of what several sources say.
//!
//! Logistic mixing, as in the PAQ compressors (Mahoney 2005, "Adaptive weighing of context
//! models for lossless data compression", §3): the sources' probabilities are stretched to
//! ln(p / (1 − p)), summed with weights and squashed. The weights are learned online, from
//! what the target wrote, by gradient descent on the coding cost. A set of weights for
//! each combination of sources lets "draft and suffix agree" mean something else than
//! "suffix says so, draft says otherwise".

use serde::{Deserialize, Serialize};

use crate::types::{SOURCES, Source, SourceSet};

/// Step of the gradient descent.
const RATE: f32 = 0.02;
/// Weights stay within ± this.
const MOST: f32 = 4.0;

/// What the sources think of one candidate, made comparable.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opinions {
    /// Calibrated probabilities of those who proposed it.
    pub probs: [f32; SOURCES],
    /// Who proposed it.
    pub proposed: SourceSet,
    /// Who proposed something else there, and not it.
    pub against: SourceSet,
}

/// One set of weights: one for each source, and a bias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Weights {
    source: [f32; SOURCES],
    bias: f32,
}

/// The weights. See the [module](self) documentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixer {
    /// By who proposed and by whether anyone is against.
    sets: Vec<Weights>,
}

impl Default for Mixer {
    fn default() -> Self {
        let set = |index: usize| {
            let proposed = SourceSet::from_bits(index / 2);
            let members = proposed.len().max(1) as f32;
            // Alone, a source is believed, and so is the average of those who read it off the
            // same text. A model that agrees with them makes it surer than that.
            let model = proposed.iter().any(|s| s.drafter().is_some());
            let weight = match proposed.len() > 1 && model {
                true => 1.3 / members,
                false => 1.0 / members,
            };
            Weights {
                source: [weight; SOURCES],
                bias: 0.0,
            }
        };
        Mixer {
            sets: (0..2 << SOURCES).map(set).collect(),
        }
    }
}

impl Mixer {
    /// Probability that the target writes the candidate.
    pub fn mix(&self, opinions: &Opinions) -> f32 {
        let set = &self.sets[index(opinions)];
        let weighted = |s: Source| set.source[s.index()] * stretch(opinions.probs[s.index()]);
        let sum: f32 = opinions.proposed.iter().map(weighted).sum();
        squash(sum + set.bias)
    }

    /// Learns that the target did or did not write it.
    pub fn learn(&mut self, opinions: &Opinions, written: bool) {
        let error = f32::from(u8::from(written)) - self.mix(opinions);
        let set = &mut self.sets[index(opinions)];
        for source in opinions.proposed.iter() {
            let weight = &mut set.source[source.index()];
            let step = RATE * error * stretch(opinions.probs[source.index()]);
            *weight = (*weight + step).clamp(-MOST, MOST);
        }
        set.bias = (set.bias + RATE * error).clamp(-MOST, MOST);
    }

    /// Whether a saved mixer is one of this version.
    pub(crate) fn fits(&self) -> bool {
        self.sets.len() == 2 << SOURCES
    }
}

fn index(opinions: &Opinions) -> usize {
    2 * opinions.proposed.bits() + usize::from(!opinions.against.is_empty())
}

fn stretch(p: f32) -> f32 {
    let p = p.clamp(0.001, 0.999);
    (p / (1.0 - p)).ln()
}

fn squash(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinions(said: &[(Source, f32)], against: &[Source]) -> Opinions {
        let mut o = Opinions::default();
        for &(source, p) in said {
            o.probs[source.index()] = p;
            o.proposed.insert(source);
        }
        for &source in against {
            o.against.insert(source);
        }
        o
    }

    #[test]
    fn a_source_alone_is_believed_and_agreement_counts_more() {
        let m = Mixer::default();
        let alone = m.mix(&opinions(&[(Source::Draft, 0.8)], &[]));
        assert!((alone - 0.8).abs() < 1e-3);
        let both = m.mix(&opinions(
            &[(Source::Draft, 0.8), (Source::Suffix, 0.8)],
            &[],
        ));
        assert!(both > alone);
    }

    #[test]
    fn learns_whom_to_believe() {
        let mut m = Mixer::default();
        // Where both speak, the draft is right and the suffix match is not.
        let draft = opinions(&[(Source::Draft, 0.6)], &[Source::Suffix]);
        let suffix = opinions(&[(Source::Suffix, 0.8)], &[Source::Draft]);
        for _ in 0..2000 {
            m.learn(&draft, true);
            m.learn(&suffix, false);
        }
        assert!(m.mix(&draft) > 0.9);
        assert!(m.mix(&suffix) < 0.1);
        // What it says of a suffix match that nobody contradicts is untouched.
        let alone = m.mix(&opinions(&[(Source::Suffix, 0.8)], &[]));
        assert!((alone - 0.8).abs() < 1e-3);
    }
}
