//! The model-free sources of one sequence: prompt lookup and the prediction.
//!
//! The third one, the corrections, belongs to all sequences
//! ([`Learned`](super::learned::Learned)).

use crate::sources::{Prediction, TextIndex};
use crate::types::{SourceSet, Token};

/// What may be looked up for one sequence, and how far it was of use.
pub(super) struct Lookup {
    /// Prompt and output, to find what repeats itself.
    pub(super) text: TextIndex,
    /// The text that is expected.
    pub(super) prediction: Prediction,
    /// Share of the tokens that the model-free sources proposed.
    pub(super) share: LookupShare,
}

impl Lookup {
    /// Sources that propose nothing.
    pub(super) fn off() -> Self {
        Lookup::new(&[], &[])
    }

    /// The sources of a sequence with this prompt and this expected text (may be empty).
    pub(super) fn new(prompt: &[Token], prediction: &[Token]) -> Self {
        Lookup {
            text: TextIndex::new(prompt),
            prediction: Prediction::new(prediction),
            share: LookupShare::new(!prediction.is_empty()),
        }
    }

    /// The target committed these tokens, of which it accepted candidates by these sources.
    pub(super) fn observe(&mut self, committed: &[Token], accepted: &[SourceSet]) {
        self.share.observe(committed.len(), accepted);
        self.text.extend(committed);
    }
}

/// How much of a sequence the model-free sources propose.
pub(super) struct LookupShare {
    proposed: f64,
    tokens: f64,
    /// Tokens that were written and not proposed.
    missing: u32,
}

impl LookupShare {
    /// Before anything is written: text that is expected mostly comes, other text seldom
    /// repeats itself (docs/sources.md). Counts like ten tokens.
    fn new(predicted: bool) -> Self {
        LookupShare {
            proposed: if predicted { 8.5 } else { 1.0 },
            tokens: 10.0,
            missing: 0,
        }
    }

    /// So many tokens were written, and candidates by these sources accepted.
    fn observe(&mut self, tokens: usize, accepted: &[SourceSet]) {
        // The token after a proposal that was right took no forward of its own.
        let own = usize::from(accepted.last().is_some_and(|s| is_model_free(*s)));
        let proposed = accepted.iter().filter(|s| is_model_free(**s)).count() + own;
        let proposed = proposed.min(tokens);
        self.tokens += tokens as f64;
        self.proposed += proposed as f64;
        self.missing += (tokens - proposed) as u32;
    }

    /// The share, from 0 to 1.
    pub(super) fn get(&self) -> f64 {
        self.proposed / self.tokens
    }

    /// Tokens that were written and not proposed.
    pub(super) fn missing(&self) -> u32 {
        self.missing
    }
}

/// Whether one of these sources needs no model.
pub(super) fn is_model_free(sources: SourceSet) -> bool {
    sources.iter().any(|s| !s.is_model())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Source;

    #[test]
    fn the_token_after_an_accepted_lookup_counts_as_proposed() {
        let mut share = LookupShare::new(false);
        let lookup = SourceSet::of(Source::PromptLookup);
        share.observe(3, &[lookup, lookup]);
        assert_eq!((share.get(), share.missing()), (4.0 / 13.0, 0));
        share.observe(2, &[SourceSet::of(Source::Draft)]);
        assert_eq!(share.missing(), 2);
    }
}
