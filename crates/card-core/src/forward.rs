//! What the core and a model say to each other.
//!
//! A model holds, per sequence, a *stem* (the committed tokens it has in its KV cache)
//! and a tree of further tokens hanging off the stem's end. The caller names every token
//! it has decoded by a [`Cell`]; how cells map to KV cells is the model's business.

use crate::types::{SequenceId, Token};

/// Names one decoded token of a sequence. Never used twice by the same caller; 0 is no cell.
pub type Cell = u64;

/// One token to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sequence it belongs to.
    pub sequence: SequenceId,
    /// The token.
    pub token: Token,
    /// Its index in the sequence, 0 is the first token of the prompt.
    pub position: u32,
    /// The name it will have.
    pub cell: Cell,
    /// What it follows: a cell decoded before or earlier in this forward, or `None` for
    /// the end of the stem.
    pub parent: Option<Cell>,
    /// Whether its logits are needed.
    pub logits: bool,
}

/// One forward of a model: tokens of one or several sequences, parents before children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// The tokens.
    pub rows: Vec<Row>,
    /// The model must compute at least this many rows, filling up with rows that nothing
    /// attends to, so that every forward runs the same kernels (docs/exactness.md).
    pub pad_to: usize,
}

impl Forward {
    /// `tokens` as one chain behind the stem of `at` tokens; a cell is named by its position
    /// plus one, so this is for callers that grow no tree. All logits are asked for.
    pub fn chain(sequence: SequenceId, at: usize, tokens: &[Token], pad_to: usize) -> Self {
        let row = |(i, &token)| Row {
            sequence,
            token,
            position: (at + i) as u32,
            cell: (at + i + 1) as Cell,
            parent: (i > 0).then_some((at + i) as Cell),
            logits: true,
        };
        Forward {
            rows: tokens.iter().enumerate().map(row).collect(),
            pad_to,
        }
    }
}

/// A change of what a model keeps. Applied between forwards, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvOp {
    /// The path to `tip` joins the stem. What does not descend from `tip` is dropped, and
    /// what does is kept if `keep_descendants`.
    Commit {
        /// The sequence.
        sequence: SequenceId,
        /// New end of the stem.
        tip: Cell,
        /// Whether the tree below `tip` stays.
        keep_descendants: bool,
    },
    /// Everything hanging off the stem is dropped.
    Prune {
        /// The sequence.
        sequence: SequenceId,
    },
    /// A sequence begins with the first `keep` tokens of the stem of `from`, which is
    /// over: a prompt that starts like an earlier one is not decoded again.
    Adopt {
        /// The new sequence.
        sequence: SequenceId,
        /// The finished one.
        from: SequenceId,
        /// Tokens taken over.
        keep: u32,
    },
    /// The same, but `from` keeps them: the cells belong to both. `from` may be running.
    Share {
        /// The new sequence.
        sequence: SequenceId,
        /// The one that has them.
        from: SequenceId,
        /// Tokens that are common.
        keep: u32,
    },
    /// The sequence is over; its cells are free.
    Release {
        /// The sequence.
        sequence: SequenceId,
    },
}

/// Logits of the last forward.
pub trait Logits {
    /// Logits (length: vocabulary) of row `i` of the forward, which had `logits` set.
    fn row(&self, i: usize) -> &[f32];
}

/// Why a model could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ModelError {
    /// No room in the KV cache.
    #[error("the KV cache of the {model} model is full; raise --ctx, or shorten the prompt")]
    Full {
        /// "target" or "draft".
        model: String,
    },
    /// No sequence id is left for one of the sequences. Those that run need none and can go
    /// on; stems that are kept from earlier can be released.
    #[error(
        "the {model} model has no room for another sequence or branch; lower --parallel, or try \
         again when others are done"
    )]
    Ids {
        /// "target" or "draft".
        model: String,
        /// The one that needs it.
        sequence: SequenceId,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A model that decodes: llama.cpp, an emulated device, a simulated one.
pub trait Model: Logits {
    /// What one forward can take.
    fn limits(&self) -> Limits;
    /// Number of logits per row.
    fn vocab(&self) -> usize;
    /// Changes what the KV cache keeps.
    ///
    /// # Errors
    /// If the sequence or the cell is not known, or there is no room. What the KV cache
    /// holds is unknown then, and nobody may read it: [`Model::reset`] it.
    fn apply(&mut self, op: KvOp) -> Result<(), ModelError>;
    /// Decodes the rows; afterwards [`Logits::row`] answers for them.
    ///
    /// # Errors
    /// [`ModelError::Full`] if there is no room; the KV cache is as before then. Anything
    /// else leaves a KV cache that nobody may read: [`Model::reset`] it.
    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError>;
    /// Empties the KV cache of every sequence, as if the model had just been made. It is
    /// called after a failure, so it must not rely on the books it keeps of the cache.
    ///
    /// # Errors
    /// If the cache cannot be emptied; the model is of no use then.
    fn reset(&mut self) -> Result<(), ModelError> {
        Err(ModelError::Failed("this model cannot be reset".into()))
    }
}

/// What one forward can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens of one sequence, prompt and candidates included.
    pub context: u32,
    /// Tokens of all sequences, those that are over and kept included.
    pub cells: usize,
    /// Rows of one forward.
    pub rows: usize,
    /// Leaves of the tree of one sequence.
    pub leaves: usize,
}
