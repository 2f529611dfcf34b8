//! One probability out of what several sources say.
//!
//! Logistic mixing, as in the PAQ compressors (Mahoney 2005, "Adaptive weighing of context
//! models for lossless data compression", §3): the sources' probabilities are stretched to
//! ln(p / (1 − p)), summed with weights, and squashed. The weights are learned online, from what
//! the target wrote, by gradient descent on the coding cost. There is a set of weights for each
//! combination of sources, so that "draft and prompt lookup agree" can mean something else than
//! "prompt lookup says so, and draft says otherwise". Before anything is learned a draft model's
//! word goes first: what a model-free source proposes at a place that the model has looked at,
//! and the model does not propose, is hardly ever right.

use serde::{Deserialize, Serialize};

use crate::types::{Prob, SOURCES, Source, SourceSet};

/// Step of the gradient descent.
const RATE: f32 = 0.02;
/// No weight is above this, or below minus this.
const MOST: f32 = 4.0;

/// What the sources think of one candidate, made comparable by calibration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opinions {
    /// Calibrated probabilities of the sources that proposed the candidate; 0 for the others.
    pub probs: [f32; SOURCES],
    /// The sources that proposed the candidate.
    pub proposed: SourceSet,
    /// The sources that proposed something else there, and not the candidate.
    pub against: SourceSet,
}

/// One set of weights: one for each source, and a bias. Each lies between −[`MOST`] and [`MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct MixWeights {
    source: [f32; SOURCES],
    bias: f32,
}

/// The weights, a set for each combination of sources. See the [module](self) documentation.
///
/// ```
/// use card_core::mixer::{Mixer, Opinions};
/// use card_core::types::{Source, SourceSet};
///
/// let mut opinions = Opinions::default();
/// opinions.probs[Source::Draft.index()] = 0.8;
/// opinions.proposed = SourceSet::of(Source::Draft);
/// // A source that speaks alone is believed.
/// let mixer = Mixer::default();
/// assert!((mixer.mix(&opinions) - 0.8).abs() < 1e-3);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixer {
    /// Indexed by the sources that proposed, and by the opposition: nobody, model-free sources
    /// only, or a draft model.
    sets: Vec<MixWeights>,
}

impl Default for Mixer {
    fn default() -> Self {
        /// The bias against a model-free source where a draft model proposes something else.
        const CONTRADICTED: f32 = -3.0;
        let set = |index: usize| {
            let proposed = SourceSet::from_bits(index / OPPOSITIONS);
            let models = proposed.iter().filter(is_model).count();
            let texts = proposed.len() - models;
            // A source that speaks alone is believed, and so is the average of sources that read
            // off the same text. Models that agree are surer than their average.
            let model = match models {
                0 | 1 => 1.0,
                n => 1.3 / n as f32,
            };
            let text = match models {
                0 => 1.0 / texts.max(1) as f32,
                _ => 0.3,
            };
            let weight = |s: Source| if is_model(&s) { model } else { text };
            let contradicted = models == 0 && index % OPPOSITIONS == OPPOSITIONS - 1;
            MixWeights {
                source: Source::ALL.map(weight),
                bias: if contradicted { CONTRADICTED } else { 0.0 },
            }
        };
        Mixer {
            sets: (0..OPPOSITIONS << SOURCES).map(set).collect(),
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

    /// Learns that the target did or did not write the candidate.
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

    /// Whether a saved mixer is one of this version, with weights within bounds.
    pub(crate) fn fits(&self) -> bool {
        let possible = |w: &f32| w.abs() <= MOST;
        let set = |s: &MixWeights| s.source.iter().all(possible) && possible(&s.bias);
        self.sets.len() == OPPOSITIONS << SOURCES && self.sets.iter().all(set)
    }
}

/// Kinds of opposition: nobody, model-free sources only, or a draft model.
const OPPOSITIONS: usize = 3;

/// The set of weights that counts for these opinions.
fn index(opinions: &Opinions) -> usize {
    let against = opinions.against;
    let opposition = match (against.is_empty(), against.iter().any(|s| is_model(&s))) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 2,
    };
    OPPOSITIONS * opinions.proposed.bits() + opposition
}

fn is_model(source: &Source) -> bool {
    source.is_model()
}

/// The logit of a probability, which is kept off 0 and 1.
fn stretch(p: f32) -> f32 {
    let p = Prob::clamped(p).get().clamp(0.001, 0.999);
    (p / (1.0 - p)).ln()
}

/// The logistic function: the inverse of [`stretch`].
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
            &[(Source::Draft, 0.8), (Source::PromptLookup, 0.8)],
            &[],
        ));
        assert!(both > alone);
        // A doubtful match takes nothing from a sure draft.
        let doubtful = [(Source::Draft, 0.95), (Source::PromptLookup, 0.5)];
        assert!(m.mix(&opinions(&doubtful, &[])) > 0.949);
    }

    #[test]
    fn a_model_free_source_is_doubted_where_a_model_says_otherwise() {
        let m = Mixer::default();
        let against = |who| m.mix(&opinions(&[(Source::PromptLookup, 0.7)], &[who]));
        assert!(against(Source::Draft) < 0.2);
        assert!((against(Source::Prediction) - 0.7).abs() < 1e-3);
    }

    #[test]
    fn learns_whom_to_believe() {
        let mut m = Mixer::default();
        // Where both speak, the draft is right and the match of prompt lookup is not.
        let draft = opinions(&[(Source::Draft, 0.6)], &[Source::PromptLookup]);
        let matched = opinions(&[(Source::PromptLookup, 0.8)], &[Source::Draft]);
        for _ in 0..2000 {
            m.learn(&draft, true);
            m.learn(&matched, false);
        }
        assert!(m.mix(&draft) > 0.9);
        assert!(m.mix(&matched) < 0.1);
        // What it says of a match that nobody contradicts is untouched.
        let alone = m.mix(&opinions(&[(Source::PromptLookup, 0.8)], &[]));
        assert!((alone - 0.8).abs() < 1e-3);
    }
}
