//! What a drafter is told.

use crate::constraint::TextGrammar;
use crate::sampler::Sampling;
use crate::types::{SequenceId, Tenant, TextMark, Token};

/// What a drafter is told.
///
/// ```
/// use card_core::protocol::DraftInput;
/// use card_core::sampler::Sampling;
/// use card_core::types::{SequenceId, Tenant};
///
/// let sequence = SequenceId(1);
/// let story = [
///     DraftInput::Open {
///         sequence,
///         tenant: Tenant::SHARED,
///         tokens: vec![3, 1, 4],
///         params: Sampling::default(),
///         end: 100,
///         grammar: None,
///     },
///     // The token of index 3 was written.
///     DraftInput::Commit { sequence, from: 3, tokens: vec![1] },
///     DraftInput::Close { sequence },
/// ];
/// assert_eq!(story.len(), 3);
/// ```
#[derive(Clone, Debug)]
pub enum DraftInput {
    /// A sequence begins.
    Open {
        /// The sequence.
        sequence: SequenceId,
        /// Whose it is: sequences of different tenants share no prefix.
        tenant: Tenant,
        /// Its tokens so far.
        tokens: Vec<Token>,
        /// How the target samples; the drafter uses the same noise.
        params: Sampling,
        /// Most tokens the sequence can come to have, prompt included.
        end: u32,
        /// What the text has to be, for a drafter in the same process; one on another machine
        /// goes without.
        grammar: Option<TextGrammar>,
    },
    /// The target wrote these.
    Commit {
        /// The sequence.
        sequence: SequenceId,
        /// Index of the first of them.
        from: u32,
        /// The tokens.
        tokens: Vec<Token>,
    },
    /// The sequence is over.
    Close {
        /// The sequence.
        sequence: SequenceId,
    },
    /// What is kept of a text for prompts to come is to be forgotten. Sequences that are open go on.
    Forget {
        /// Whose text it is.
        tenant: Tenant,
        /// Which text.
        text: TextMark,
    },
    /// Several drafters work for this target, and this is one's part.
    Share(DraftShare),
}

/// A drafter's part of the candidate tree, where several drafters share it out. Of the
/// candidates for the next token, drafter 0 looks past the most probable one, and the other
/// drafters take the remaining ones in turn. So one drafter drafts on while others prepare for
/// a correction.
///
/// ```
/// use card_core::protocol::DraftShare;
///
/// let second_of_three = DraftShare { index: 1, of: 3 };
/// assert!(!second_of_three.owns(0), "the best candidate is drafter 0's");
/// assert!(second_of_three.owns(1));
/// assert!(!second_of_three.owns(2));
/// assert!(second_of_three.owns(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DraftShare {
    /// Which of the drafters, below `of`.
    pub index: u32,
    /// How many drafters there are.
    pub of: u32,
}

impl DraftShare {
    /// All of the tree.
    pub const WHOLE: DraftShare = DraftShare { index: 0, of: 1 };

    /// Whether this drafter is to look past the candidate of this rank for the next token.
    pub fn owns(self, rank: usize) -> bool {
        match (self.of, rank) {
            (0 | 1, _) => true,
            (_, 0) => self.index == 0,
            (of, rank) => self.index as usize == 1 + (rank - 1) % (of as usize - 1),
        }
    }
}
