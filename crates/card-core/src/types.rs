//! The small words every other module uses.

use serde::{Deserialize, Serialize};

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

    /// The members, in the order of [`Source::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Source> {
        Source::ALL.into_iter().filter(move |s| self.contains(*s))
    }
}
