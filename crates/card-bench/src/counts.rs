//! Tokens of a generation by who proposed them.

use card_core::types::SourceSet;

/// Tokens of a text by who proposed them. Each token is either an accepted candidate, which
/// counts once for the set of sources that proposed it, or the target's own; so the parts add up
/// to the whole, whatever was counted.
///
/// ```
/// use card_bench::counts::TokenCounts;
/// use card_core::types::{Source, SourceSet};
///
/// let draft = SourceSet::of(Source::Draft);
/// let counts = TokenCounts::of_round(3, &[draft, draft]);
/// assert_eq!((counts.accepted(), counts.own(), counts.all()), (2, 1, 3));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Tokens that no source had proposed where the target wrote them.
    own: usize,
    /// Accepted candidates, by the sources that proposed them.
    accepted: Vec<(SourceSet, usize)>,
}

impl TokenCounts {
    /// The `written` tokens of one round: the accepted candidates come first, in this order with
    /// their sources, then the target's own token. Candidates past the end of what was written
    /// (behind a stop string, say) are no part of the text and do not count.
    pub fn of_round(written: usize, accepted: &[SourceSet]) -> Self {
        let mut counts = TokenCounts::default();
        let in_text = &accepted[..accepted.len().min(written)];
        for &sources in in_text {
            counts.count(sources, 1);
        }
        counts.own = written - in_text.len();
        counts
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, more: &TokenCounts) {
        self.own += more.own;
        for &(sources, n) in &more.accepted {
            self.count(sources, n);
        }
    }

    fn count(&mut self, sources: SourceSet, n: usize) {
        match self
            .accepted
            .iter_mut()
            .find(|(known, _)| *known == sources)
        {
            Some((_, counted)) => *counted += n,
            None => self.accepted.push((sources, n)),
        }
    }

    /// Number of tokens.
    pub fn all(&self) -> usize {
        self.own + self.accepted()
    }

    /// Tokens that are accepted candidates.
    pub fn accepted(&self) -> usize {
        self.accepted.iter().map(|(_, n)| n).sum()
    }

    /// Tokens that are the target's own.
    pub fn own(&self) -> usize {
        self.own
    }

    /// The accepted candidates by who proposed them, most first. They add up to
    /// [`TokenCounts::accepted`].
    pub fn by_sources(&self) -> Vec<(String, usize)> {
        let named = self.accepted.iter().map(|&(set, n)| (name_of(set), n));
        let mut named: Vec<(String, usize)> = named.collect();
        named.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        named
    }
}

/// The names of all sources in a set: `draft+prompt_lookup`.
pub fn name_of(sources: SourceSet) -> String {
    let names: Vec<&str> = sources.iter().map(|s| s.name()).collect();
    names.join("+")
}

#[cfg(test)]
mod tests {
    use card_core::types::Source;

    use super::*;

    fn both() -> SourceSet {
        SourceSet::of(Source::Draft).union(SourceSet::of(Source::PromptLookup))
    }

    #[test]
    fn parts_add_up_to_the_whole_even_where_two_sources_proposed_a_token() {
        let draft = SourceSet::of(Source::Draft);
        let mut counts = TokenCounts::of_round(1, &[]);
        counts.add(&TokenCounts::of_round(4, &[draft, both(), draft]));
        counts.add(&TokenCounts::of_round(2, &[both()]));
        assert_eq!((counts.all(), counts.accepted(), counts.own()), (7, 4, 3));
        let by_sources = counts.by_sources();
        let expected = [("draft", 2), ("draft+prompt_lookup", 2)];
        assert_eq!(by_sources, expected.map(|(s, n)| (s.to_owned(), n)));
        let sum: usize = by_sources.iter().map(|s| s.1).sum();
        assert_eq!(sum, counts.accepted());
    }

    #[test]
    fn candidates_behind_the_end_of_the_text_do_not_count() {
        let draft = SourceSet::of(Source::Draft);
        let counts = TokenCounts::of_round(1, &[draft, draft]);
        assert_eq!((counts.all(), counts.accepted(), counts.own()), (1, 1, 0));
        assert_eq!(TokenCounts::of_round(0, &[draft]).all(), 0);
    }
}
