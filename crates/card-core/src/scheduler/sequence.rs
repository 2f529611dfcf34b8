//! One generation: its text, its candidates, and where it stands.

use super::candidates::Candidates;
use super::drafter_view::DrafterView;
use super::learned::Learned;
use super::lookup::Lookup;
use crate::constraint::{Constraint, TextGrammar};
use crate::protocol::DraftInput;
use crate::sampler::Sampling;
use crate::types::{Prob, SequenceId, Source, Tenant, Token};

/// A sequence that runs.
pub(super) struct Sequence {
    pub(super) tenant: Tenant,
    pub(super) params: Sampling,
    pub(super) text: SequenceText,
    pub(super) candidates: Candidates,
    pub(super) lookup: Lookup,
    pub(super) stop_tokens: Vec<Token>,
    pub(super) constraint: Option<Box<dyn Constraint>>,
    /// Most probable tokens to report with each token; `None` to report no probabilities.
    pub(super) logprobs: Option<usize>,
    /// Tokens of the prompt that an earlier sequence had decoded.
    pub(super) reused: usize,
    pub(super) view: DrafterView,
    pub(super) speculation: SequenceSpeculation,
    /// Most candidates that a forward verifies for it.
    pub(super) most_candidates: usize,
    pub(super) decision: Decision,
}

/// Who proposes candidates for a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SequenceSpeculation {
    /// Nobody: it is decoded plainly.
    Off,
    /// No drafter hears of it.
    WithoutDrafters,
    /// Everybody.
    WithDrafters,
}

/// How the next token of a sequence is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// By a forward that may carry candidates and other sequences.
    Batch,
    /// By a forward of its own: the last decision was too close ([`Shapes::redecide_below`]).
    ///
    /// [`Shapes::redecide_below`]: super::config::Shapes::redecide_below
    Solo,
}

/// The text of a sequence, and how much of it is decoded.
///
/// Invariants: `decoded <= tokens.len()`, and they are equal only when the sequence ends with
/// this round; `prompt <= tokens.len()`.
pub(super) struct SequenceText {
    /// Prompt and output.
    pub(super) tokens: Vec<Token>,
    /// Tokens of the prompt.
    pub(super) prompt: usize,
    /// Leading tokens that are in the stem of the target's KV cache.
    pub(super) decoded: usize,
    /// Length at which the sequence ends; the context may end it before.
    pub(super) end: usize,
    /// The last commit left rows of its forward out, of a model that keeps no other state of the
    /// stem ([`StemRules::rolled_back`](super::stem_rules::StemRules::rolled_back)).
    pub(super) rolled_back: bool,
    /// Numbers of tokens of the prompt after which a forward ends and the state is saved, in order.
    pub(super) marks: Vec<usize>,
    /// Tokens up to the last place at which its state was saved, or that it began with.
    pub(super) saved: usize,
}

impl SequenceText {
    /// Tokens that are not in the stem yet: the last one, a side branch the target took
    /// (see [`Verdict::stem_rows`](super::verify::Verdict::stem_rows)), what was taken back
    /// ([`StemRules`](super::stem_rules::StemRules)), or prompt.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.decoded
    }

    /// Tokens to decode before the next mark; as many as there are if there is none.
    pub(super) fn before_mark(&self) -> usize {
        let next = self.marks.iter().find(|&&mark| mark > self.decoded);
        next.map_or(usize::MAX, |mark| mark - self.decoded)
    }

    /// Tokens of the stem behind the last place at which the state was saved.
    pub(super) fn unsaved(&self) -> usize {
        self.decoded.saturating_sub(self.saved)
    }

    /// Tokens that may still be written in a context of so many.
    pub(super) fn left(&self, context: usize) -> usize {
        self.end.min(context).saturating_sub(self.tokens.len())
    }

    /// Some of the prompt is missing in the stem.
    pub(super) fn prefilling(&self) -> bool {
        self.decoded < self.prompt
    }
}

impl Sequence {
    /// Adds candidates after the path of tokens `path` that begins behind index `root`. A path
    /// that was corrected away is dropped, one that survived is re-based.
    pub(super) fn propose(
        &mut self,
        learned: &Learned,
        root: u32,
        path: &[Token],
        children: &[(Token, Prob)],
        source: Source,
    ) {
        if self.speculation == SequenceSpeculation::Off {
            return;
        }
        // What was committed since must be what the path says.
        let behind = (root as usize).saturating_add(1);
        let Some(committed) = self.text.tokens.get(behind..) else {
            return;
        };
        let Some(rest) = path.strip_prefix(committed) else {
            return;
        };
        let known = &learned.acceptance;
        self.candidates.propose(known, rest, children, source);
    }

    /// Asks the model-free sources what follows the last `written` tokens.
    pub(super) fn look_up(&mut self, learned: &Learned, written: usize) {
        if self.speculation == SequenceSpeculation::Off {
            return;
        }
        let known = &learned.acceptance;
        let candidates = &mut self.candidates;
        let tokens = &self.text.tokens;
        let mut chain = candidates.forced();
        candidates.insert_chain(known, &chain, Source::Grammar);
        self.lookup.text.continue_itself(&mut chain);
        candidates.insert_chain(known, &chain, Source::PromptLookup);
        self.lookup.prediction.propose(tokens, written, &mut chain);
        candidates.insert_chain(known, &chain, Source::Prediction);
        if let Some(corrections) = &learned.corrections {
            corrections.propose(self.tenant, tokens, &mut chain);
            candidates.insert_chain(known, &chain, Source::Correction);
        }
    }

    /// Whether anybody proposes candidates for it.
    pub(super) fn speculates(&self) -> bool {
        self.speculation != SequenceSpeculation::Off
    }

    /// Whether drafters hear of it.
    pub(super) fn has_drafters(&self) -> bool {
        self.speculation == SequenceSpeculation::WithDrafters
    }

    /// Says whether drafters hear of it; of one that is decoded plainly they never do.
    pub(super) fn set_alone(&mut self, alone: bool) {
        self.speculation = match self.speculation {
            SequenceSpeculation::Off => SequenceSpeculation::Off,
            _ if alone => SequenceSpeculation::WithoutDrafters,
            _ => SequenceSpeculation::WithDrafters,
        };
    }

    /// What the text has to be, for those who propose tokens.
    fn grammar(&self) -> Option<TextGrammar> {
        Some(TextGrammar {
            grammar: self.constraint.as_ref()?.grammar()?,
            begins: self.text.prompt as u32,
        })
    }

    /// What a drafter is to be told of it; nothing if it is decoded plainly.
    pub(super) fn introduction(&self, sequence: SequenceId) -> Option<DraftInput> {
        if self.speculation == SequenceSpeculation::Off {
            return None;
        }
        Some(DraftInput::Open {
            sequence,
            tenant: self.tenant,
            tokens: self.text.tokens.clone(),
            params: self.params.clone(),
            end: self.text.end.min(u32::MAX as usize) as u32,
            grammar: self.grammar(),
        })
    }
}
