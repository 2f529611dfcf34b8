//! What the core and a model say to each other.
//!
//! A model holds, per sequence, a *stem* (the committed tokens it has in its KV cache)
//! and a tree of further tokens hanging off the stem's end. The caller names every token
//! it has decoded by a [`KvCell`]; how these names map to KV cells is the model's business.
//! The tree is decoded as SpecInfer does (arXiv 2305.09781, §4): a row attends to the stem and
//! to its own ancestors only.
//!
//! A model with a recurrent state has no KV cells to drop: [`Rollback`] says what such a model can
//! take back, and what a caller may ask of it.

use std::ops::Range;

use crate::types::{SequenceId, Token};

/// Names one decoded token of a sequence. The same caller never uses a name twice; 0 is no
/// cell. A child's name is greater than its parent's.
pub type KvCell = u64;

/// Names a state that a model has saved ([`KvOp::Save`]). The same caller never uses a name twice.
pub type StateName = u64;

/// Hands out names of cells, each of them once.
#[derive(Debug)]
pub(crate) struct CellNames {
    next: KvCell,
}

impl CellNames {
    /// Names from 1 on: 0 is no cell.
    pub(crate) fn new() -> Self {
        CellNames { next: 1 }
    }

    /// A name that was not used before.
    pub(crate) fn take(&mut self) -> KvCell {
        let cell = self.next;
        self.next += 1;
        cell
    }
}

/// Adds the tokens `range` of a text as a chain behind its stem; the logits of the text's last
/// token are asked for. Returns the cell of the last row.
pub(crate) fn push_text(
    rows: &mut Vec<Row>,
    names: &mut CellNames,
    sequence: SequenceId,
    text: &[Token],
    range: Range<usize>,
) -> Option<KvCell> {
    let mut parent = None;
    for position in range {
        let cell = names.take();
        rows.push(Row {
            sequence,
            token: text[position],
            position: position as u32,
            cell,
            parent,
            logits: position + 1 == text.len(),
        });
        parent = Some(cell);
    }
    parent
}

/// One token to decode.
///
/// ```
/// use card_core::forward::{Forward, Row};
/// use card_core::types::SequenceId;
///
/// let sequence = SequenceId(1);
/// let row = |token, position, cell, parent| Row {
///     sequence,
///     token,
///     position,
///     cell,
///     parent,
///     logits: true,
/// };
/// // Behind the token 7 hang two candidates for the place after it. Neither attends to the other.
/// let forward = Forward {
///     rows: vec![row(7, 4, 1, None), row(8, 5, 2, Some(1)), row(9, 5, 3, Some(1))],
///     pad_to: 0,
/// };
/// assert_eq!(forward.rows[1].parent, forward.rows[2].parent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sequence the token belongs to.
    pub sequence: SequenceId,
    /// The token.
    pub token: Token,
    /// Index of the token in the sequence; 0 is the first token of the prompt.
    pub position: u32,
    /// The name the token will have.
    pub cell: KvCell,
    /// What the token follows: a cell decoded before or earlier in this forward, or `None` for
    /// the end of the stem.
    pub parent: Option<KvCell>,
    /// Whether the logits after the token are needed.
    pub logits: bool,
}

/// One forward of a model: tokens of one or several sequences, parents before children.
///
/// ```
/// use card_core::forward::Forward;
/// use card_core::types::SequenceId;
///
/// let forward = Forward::chain(SequenceId(1), 10, &[7, 8], 0);
/// assert_eq!(forward.rows[0].position, 10);
/// assert_eq!(forward.rows[0].parent, None, "it follows the stem");
/// assert_eq!(forward.rows[1].parent, Some(forward.rows[0].cell));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    /// The tokens.
    pub rows: Vec<Row>,
    /// The model must compute at least this many rows. It fills up with rows that nothing
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
            cell: (at + i + 1) as KvCell,
            parent: (i > 0).then_some((at + i) as KvCell),
            logits: true,
        };
        Forward {
            rows: tokens.iter().enumerate().map(row).collect(),
            pad_to,
        }
    }
}

/// A change of what a model keeps. Applied between forwards, in order.
///
/// ```
/// use card_core::forward::{Forward, KvOp, Limits, Model, Rollback};
/// # use card_core::synthetic::{Synthetic, SyntheticConfig};
/// use card_core::types::SequenceId;
///
/// # let rollback = Rollback::Free;
/// # let limits = Limits { context: 100, cells: 200, rows: 8, leaves: 4, rollback };
/// # let (vocab, seed, spread) = (20, 5, 2.0);
/// # let language = SyntheticConfig { vocab, seed, spread, noise: 0.0, noise_seed: 1, limits };
/// # let mut model = Synthetic::new(language);
/// let sequence = SequenceId(1);
/// // The prompt is decoded, and joins the stem.
/// let prompt = Forward::chain(sequence, 0, &[3, 1], 0);
/// model.forward(&prompt)?;
/// model.apply(KvOp::Commit {
///     sequence,
///     tip: prompt.rows[1].cell,
///     keep_descendants: false,
/// })?;
/// // A candidate is decoded behind it. The target writes another token, so the candidate goes.
/// model.forward(&Forward::chain(sequence, 2, &[4], 0))?;
/// model.apply(KvOp::Prune { sequence })?;
/// // The text is written.
/// model.apply(KvOp::Release { sequence })?;
/// # Ok::<(), card_core::forward::ModelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvOp {
    /// The path to `tip` joins the stem. What does not descend from `tip` is dropped, and
    /// what does is kept if `keep_descendants`.
    Commit {
        /// The sequence.
        sequence: SequenceId,
        /// New end of the stem.
        tip: KvCell,
        /// Whether the tree below `tip` stays.
        keep_descendants: bool,
    },
    /// Everything hanging off the stem is dropped.
    Prune {
        /// The sequence.
        sequence: SequenceId,
    },
    /// A sequence begins with the first `keep` tokens of the stem of `from`, a finished sequence: a
    /// prompt that starts like an earlier one is not decoded again.
    Adopt {
        /// The new sequence.
        sequence: SequenceId,
        /// The finished one.
        from: SequenceId,
        /// Tokens taken over.
        keep: u32,
    },
    /// As [`KvOp::Adopt`], but `from` keeps its stem: the cells belong to both. `from` may be
    /// running.
    Share {
        /// The new sequence.
        sequence: SequenceId,
        /// The sequence that has the tokens.
        from: SequenceId,
        /// Tokens that are common.
        keep: u32,
    },
    /// The sequence is over; its cells are free.
    Release {
        /// The sequence.
        sequence: SequenceId,
    },
    /// The state behind the stem is saved under a name, and outlives the sequence. When it is saved
    /// nothing hangs off the stem. Only a model that [has such a state](Model::state_bytes) is
    /// asked.
    Save {
        /// The sequence.
        sequence: SequenceId,
        /// The name.
        state: StateName,
    },
    /// A sequence begins with the first `keep` tokens of the stem of `from`, which keeps its stem
    /// and may be running. The state behind these tokens is a saved one; it stays saved.
    Resume {
        /// The new sequence.
        sequence: SequenceId,
        /// The sequence that has the tokens.
        from: SequenceId,
        /// Tokens that are common, as many as there were when the state was saved.
        keep: u32,
        /// The name of the state.
        state: StateName,
    },
    /// A saved state is not needed any more.
    Forget {
        /// Its name.
        state: StateName,
    },
}

/// Names the hidden state that the target has behind one token: what a head of the target reads
/// together with the token that follows (docs/heads.md). The numbers stay with the model; the core
/// says only which row of the last forward gave them.
///
/// ```
/// use card_core::forward::HiddenRow;
/// use card_core::types::SequenceId;
///
/// // The last forward's row 3 decoded the token of index 41, and the target decided from it what
/// // the token of index 42 is.
/// let behind = HiddenRow {
///     sequence: SequenceId(1),
///     position: 41,
///     row: 3,
/// };
/// assert_eq!(behind.position, 41);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HiddenRow {
    /// The sequence.
    pub sequence: SequenceId,
    /// Index in the sequence of the token that the row decoded.
    pub position: u32,
    /// Row of the last forward.
    pub row: usize,
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
    /// No sequence id is left for one of the sequences. Sequences that run need none and can
    /// go on; stems that are kept from earlier can be released.
    #[error(
        "the {model} model has no room for another sequence or branch; lower --parallel, or try \
         again when others are done"
    )]
    Ids {
        /// "target" or "draft".
        model: String,
        /// The sequence that needs an id.
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
    /// Bytes that the state behind a stem takes when it is [saved](KvOp::Save); `None` if the model
    /// saves none. A model whose [`Rollback`] is free has no use for it.
    fn state_bytes(&self) -> Option<usize> {
        None
    }
    /// Changes what the KV cache keeps.
    ///
    /// # Errors
    /// If the sequence or the cell is not known, or there is no room. What the KV cache
    /// holds is unknown then, and nobody may read it: [`Model::reset`] it.
    fn apply(&mut self, op: KvOp) -> Result<(), ModelError>;
    /// Decodes the rows; afterwards [`Logits::row`] answers for them.
    ///
    /// # Errors
    /// [`ModelError::Full`] if there is no room, and [`ModelError::Ids`] if a sequence of the
    /// forward needs an id and none is left; the KV cache is as before then. Anything else
    /// leaves a KV cache that nobody may read: [`Model::reset`] it.
    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError>;
    /// Whether from the next forward on the drafters on other lanes rest (`true`), or work
    /// (`false`, as at first): the model may compute on their processors while they rest, if its
    /// logits are the same then.
    fn drafters_rest(&mut self, rest: bool) {
        let _ = rest;
    }
    /// Whether the model keeps hidden states for a head, and wants to be told which
    /// ([`Model::keep_hidden`]).
    fn keeps_hidden(&self) -> bool {
        false
    }
    /// Keeps the hidden states of these rows of the last forward until the head has read them. Each
    /// row decoded a committed token that another committed token follows. `rows` are in the order
    /// of their positions, sequence by sequence. A state that cannot be kept costs drafts, never
    /// more.
    fn keep_hidden(&mut self, rows: &[HiddenRow]) {
        let _ = rows;
    }
    /// Empties the KV cache of every sequence, as if the model had just been made. It is
    /// called after a failure, so it must not rely on the books it keeps of the cache.
    ///
    /// # Errors
    /// If the cache cannot be emptied; the model is of no use then.
    fn reset(&mut self) -> Result<(), ModelError> {
        Err(ModelError::Failed("this model cannot be reset".into()))
    }
}

impl Logits for Box<dyn Model + Send> {
    fn row(&self, i: usize) -> &[f32] {
        (**self).row(i)
    }
}

impl Model for Box<dyn Model + Send> {
    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn vocab(&self) -> usize {
        (**self).vocab()
    }

    fn state_bytes(&self) -> Option<usize> {
        (**self).state_bytes()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        (**self).apply(op)
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        (**self).forward(forward)
    }

    fn drafters_rest(&mut self, rest: bool) {
        (**self).drafters_rest(rest);
    }

    fn keeps_hidden(&self) -> bool {
        (**self).keeps_hidden()
    }

    fn keep_hidden(&mut self, rows: &[HiddenRow]) {
        (**self).keep_hidden(rows);
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        (**self).reset()
    }
}

/// What one forward can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens of one sequence, prompt and candidates included.
    pub context: u32,
    /// Tokens of all sequences, finished ones whose KV cells are kept included.
    pub cells: usize,
    /// Rows of one forward.
    pub rows: usize,
    /// Leaves of the trees of all sequences. A single chain of a sequence behind its stem has a place
    /// in any case, so candidates that are to be verified may be one chain of each. Where [`Rollback`] is not free, a drafter counts each
    /// drafted token as one, since each has a state of its own.
    pub leaves: usize,
    /// How decoded tokens are taken back.
    pub rollback: Rollback,
}

impl Limits {
    /// Leaves that the tree of one sequence may have while so many run.
    ///
    /// ```
    /// use card_core::forward::{Limits, Rollback};
    ///
    /// let limits = Limits {
    ///     context: 100,
    ///     cells: 200,
    ///     rows: 8,
    ///     leaves: 5,
    ///     rollback: Rollback::Free,
    /// };
    /// assert_eq!((limits.leaves_each(0), limits.leaves_each(2)), (5, 2));
    /// ```
    pub fn leaves_each(&self, running: usize) -> usize {
        self.leaves / running.max(1)
    }
}

/// How a model takes decoded tokens back.
///
/// Attention keeps a KV cell per token, and any of them can be dropped. A recurrent model (Mamba,
/// RWKV) or a hybrid one (gated delta net, short convolutions beside attention) keeps one state
/// per sequence, which every token changes. Its callers keep these rules:
///
/// - The rows of a sequence in a forward lie side by side and are one chain. It begins behind the
///   stem, or behind the last row of an earlier forward's chain.
/// - [`KvOp::Commit`] names the last row of a chain, or an earlier one as far as `Bounded` says.
/// - [`KvOp::Prune`] gives back the stem as it was before the forwards that hang off it. The one
///   exception: after a commit that left rows of its chain out, the next forward of the sequence
///   works on the stem itself, and at least its first row has to stay.
/// - [`KvOp::Adopt`] and [`KvOp::Share`] take a whole stem, and `Share` takes none whose last
///   commit left rows out. A part of a stem can be taken where its state was saved
///   ([`KvOp::Save`], [`KvOp::Resume`]).
///
/// ```
/// use card_core::forward::Rollback;
///
/// assert!(Rollback::Free.is_free());
/// assert!(!Rollback::Bounded { rows: 4 }.is_free());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rollback {
    /// Any token, at any time: a commit ends at any row of a tree.
    #[default]
    Free,
    /// A commit ends at the last row of a chain, or at most `rows` rows before it (llama.cpp's
    /// snapshots of recurrent states).
    Bounded {
        /// Rows that a commit may leave out.
        rows: u32,
    },
    /// A chain stays as a whole or not at all: the state from before it is kept until then.
    Checkpoint,
}

impl Rollback {
    /// Whether any token can be taken back.
    pub const fn is_free(self) -> bool {
        matches!(self, Rollback::Free)
    }
}
