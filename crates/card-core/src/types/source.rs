//! Who proposes candidates.

use serde::{Deserialize, Serialize};

/// Who proposed a candidate.
///
/// ```
/// use card_core::types::Source;
///
/// assert_eq!(Source::Draft2.drafter(), Some(1));
/// assert_eq!(Source::PromptLookup.drafter(), None, "it needs no model");
/// assert_eq!(Source::PromptLookup.name(), "prompt_lookup");
/// assert!(Source::Head.is_model() && Source::Head.drafter().is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A draft model (the first one; further ones follow).
    Draft,
    /// A second draft model.
    Draft2,
    /// Prompt lookup: the recent text stood before in prompt or output, and this followed it
    /// there.
    #[serde(alias = "suffix")]
    PromptLookup,
    /// What the target wrote after the same context before.
    Correction,
    /// Text the user expects back.
    Prediction,
    /// The grammar of the text leaves no choice.
    Grammar,
    /// A head of the target: a part of the target's own file that proposes from the target's
    /// hidden states (docs/heads.md).
    Head,
}

/// Most draft models of one scheduler; a head of the target is none of them.
pub const DRAFTERS: usize = 2;

/// Number of sources.
pub const SOURCES: usize = Source::ALL.len();

impl Source {
    /// Every source, in the order of [`Source::index`].
    pub const ALL: [Source; 7] = [
        Source::Draft,
        Source::Draft2,
        Source::PromptLookup,
        Source::Correction,
        Source::Prediction,
        Source::Grammar,
        Source::Head,
    ];

    /// Position in [`Source::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Which draft model it is, below [`DRAFTERS`]; `None` if it needs no model of its own.
    pub fn drafter(self) -> Option<usize> {
        match self {
            Source::Draft => Some(0),
            Source::Draft2 => Some(1),
            _ => None,
        }
    }

    /// Whether its proposals come out of weights (of a draft model, or of a head of the target)
    /// and not out of text that is known already.
    pub fn is_model(self) -> bool {
        self == Source::Head || self.drafter().is_some()
    }

    /// The word shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Source::Draft => "draft",
            Source::Draft2 => "draft2",
            Source::PromptLookup => "prompt_lookup",
            Source::Correction => "correction",
            Source::Prediction => "prediction",
            Source::Grammar => "grammar",
            Source::Head => "head",
        }
    }
}

/// The set of sources that proposed one candidate.
///
/// ```
/// use card_core::types::{Source, SourceSet};
///
/// let mut set = SourceSet::of(Source::Draft);
/// set.insert(Source::Prediction);
/// assert_eq!(set.len(), 2);
/// assert!(set.without(SourceSet::of(Source::Draft)).contains(Source::Prediction));
/// ```
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_lookup_is_read_by_its_old_name_too() {
        let read = |text: &str| serde_json::from_str::<Source>(text).unwrap();
        assert_eq!(read("\"suffix\""), Source::PromptLookup);
        assert_eq!(read("\"prompt_lookup\""), Source::PromptLookup);
        let written = serde_json::to_string(&Source::PromptLookup).unwrap();
        assert_eq!(written, "\"prompt_lookup\"");
    }
}
