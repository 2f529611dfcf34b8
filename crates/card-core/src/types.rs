//! The small words every other module uses.

mod prob;
mod rows;
mod tenant;

use serde::{Deserialize, Serialize};

pub use prob::Prob;
pub use rows::Rows;
pub use tenant::Tenant;

/// A token id in the target's vocabulary.
pub type Token = u32;

/// One generation: a prompt, what was committed to it, and its candidate cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SequenceId(pub u64);

/// Who proposed a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A draft model (the first one; further ones follow).
    Draft,
    /// A second draft model.
    Draft2,
    /// A match of the recent text in prompt or output.
    Suffix,
    /// What the target wrote after the same context before.
    Correction,
    /// Text the user expects back.
    Prediction,
}

/// Most draft models of one engine.
pub const DRAFTERS: usize = 2;

/// Number of sources.
pub const SOURCES: usize = Source::ALL.len();

impl Source {
    /// Every source, in the order of [`Source::index`].
    pub const ALL: [Source; 5] = [
        Source::Draft,
        Source::Draft2,
        Source::Suffix,
        Source::Correction,
        Source::Prediction,
    ];

    /// Position in [`Source::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Which draft model it is, below [`DRAFTERS`]; `None` if it needs no model.
    pub fn drafter(self) -> Option<usize> {
        match self {
            Source::Draft => Some(0),
            Source::Draft2 => Some(1),
            _ => None,
        }
    }

    /// The word shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Source::Draft => "draft",
            Source::Draft2 => "draft2",
            Source::Suffix => "suffix",
            Source::Correction => "correction",
            Source::Prediction => "prediction",
        }
    }
}

/// The set of sources that proposed one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSet(u8);

impl SourceSet {
    /// The set with one member.
    pub fn of(source: Source) -> Self {
        SourceSet(1 << source.index())
    }

    /// Adds `source`.
    pub fn insert(&mut self, source: Source) {
        self.0 |= 1 << source.index();
    }

    /// Whether `source` is a member.
    pub fn contains(self, source: Source) -> bool {
        self.0 & (1 << source.index()) != 0
    }

    /// The members of either.
    pub fn union(self, other: SourceSet) -> SourceSet {
        SourceSet(self.0 | other.0)
    }

    /// The members that are not in `other`.
    pub fn without(self, other: SourceSet) -> SourceSet {
        SourceSet(self.0 & !other.0)
    }

    /// Number of members.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether it has no member.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set of that number.
    pub(crate) fn from_bits(bits: usize) -> Self {
        SourceSet(bits as u8)
    }

    /// The set as a number below 2^[`SOURCES`].
    pub fn bits(self) -> usize {
        usize::from(self.0)
    }

    /// The members, in the order of [`Source::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Source> {
        Source::ALL.into_iter().filter(move |s| self.contains(*s))
    }
}

/// What the sources said of one candidate: the probability and the rank each gave it.
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

    /// Adds what `source` says; it replaces what it said before. What is no probability
    /// counts as the nearest one.
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
        let said = |s: Source| (s, self.probs[s.index()], self.ranks[s.index()]);
        self.sources.iter().map(said)
    }

    /// What `source` said, 0 and 0 if nothing.
    pub fn by(&self, source: Source) -> (f32, u8) {
        (self.probs[source.index()], self.ranks[source.index()])
    }
}
