//! What the sources said of one candidate.

use super::prob::Prob;
use super::source::{SOURCES, Source, SourceSet};

/// What the sources said of one candidate: the probability and the rank each gave it.
///
/// ```
/// use card_core::types::{Evidence, Source};
///
/// let mut evidence = Evidence::of(Source::Draft, 0.8, 0);
/// evidence.add(Source::Prediction, 0.5, 1);
/// assert_eq!(evidence.sources().len(), 2);
/// assert_eq!(evidence.by(Source::Prediction), (0.5, 1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    sources: SourceSet,
    probs: [f32; SOURCES],
    ranks: [u8; SOURCES],
}

impl Evidence {
    /// What one source said.
    pub fn of(source: Source, prob: f32, rank: u8) -> Self {
        let mut evidence = Evidence::default();
        evidence.add(source, prob, rank);
        evidence
    }

    /// Adds what `source` says, in place of what it said before. A number that is no
    /// probability counts as the nearest one.
    pub fn add(&mut self, source: Source, prob: f32, rank: u8) {
        self.sources.insert(source);
        self.probs[source.index()] = Prob::clamped(prob).get();
        self.ranks[source.index()] = rank;
    }

    /// Who said anything.
    pub fn sources(&self) -> SourceSet {
        self.sources
    }

    /// (source, probability, rank) of everyone who said anything.
    pub fn iter(&self) -> impl Iterator<Item = (Source, f32, u8)> + '_ {
        self.sources
            .iter()
            .map(|s| (s, self.probs[s.index()], self.ranks[s.index()]))
    }

    /// Probability and rank that `source` gave; 0 and 0 if it said nothing.
    pub fn by(&self, source: Source) -> (f32, u8) {
        (self.probs[source.index()], self.ranks[source.index()])
    }
}
