//! A draft model behind a map: a [`Model`] of the target's vocabulary.

use std::sync::Arc;

use super::books::{Books, Held, Start};
use super::error::TranslationError;
use super::map::TokenMap;
use super::scatter::LogitRows;
use crate::forward::{Forward, KvCell, KvOp, Limits, Logits, Model, ModelError, Row};

/// A draft model of another vocabulary that takes the target's tokens in and gives logits for the
/// target's tokens. See the [module](super) documentation.
///
/// Each row becomes the rows of its [pieces](TokenMap::pieces), and each operation on the KV cache
/// one on the draft model's. If the pieces are more than one forward of the draft model takes,
/// they are decoded in several.
///
/// A text may outgrow the draft model's context, since it has more draft tokens than target
/// tokens. That is no error, which would end the drafting for every sequence: the draft model has
/// nothing to say after the last token that fits, which is a row of −∞ (and no forward at all),
/// while the other sequences go on.
///
/// Memory grows with the tokens that the caller's KV cache holds, as [`Translated::tokens`] tells,
/// and with the largest number of rows with logits that a forward had.
///
/// ```
/// use std::sync::Arc;
///
/// use card_core::forward::{Forward, Limits, Logits, Model, Rollback};
/// use card_core::synthetic::{Synthetic, SyntheticConfig};
/// use card_core::translation::{Roles, TokenKind, TokenMap, Translated, Vocabulary};
/// use card_core::types::SequenceId;
///
/// let text = |tokens: &[&'static str]| {
///     let tokens = tokens.iter().map(|&t| (t, TokenKind::Text));
///     Vocabulary::new(tokens, Roles::default())
/// };
/// let map = TokenMap::new(&text(&["a", "b", "abc"])?, &text(&["c", "b", "ab", "a"])?)?;
/// # let rollback = Rollback::Free;
/// # let limits = Limits { context: 100, cells: 200, rows: 8, leaves: 4, rollback };
/// # let (seed, spread) = (5, 2.0);
/// # let language = SyntheticConfig { vocab: 4, seed, spread, noise: 0.0, noise_seed: 1, limits };
/// let draft = Synthetic::new(language);
/// let mut model = Translated::new(Box::new(draft), Arc::new(map))?;
/// // The target's token "abc" is decoded as two tokens of the draft model, whose logits after them
/// // become logits of the target's three tokens.
/// model.forward(&Forward::chain(SequenceId(1), 0, &[2], 0))?;
/// assert_eq!(model.row(0).len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Translated<M: ?Sized> {
    map: Arc<TokenMap>,
    books: Books,
    /// The name that the draft model's next cell gets.
    next_cell: KvCell,
    /// The rows of the forward, in pieces.
    pieces: Vec<InnerPiece>,
    /// One forward of the draft model; kept for its memory.
    part: Forward,
    logits: LogitRows,
    inner: Box<M>,
}

/// A row of the draft model.
struct InnerPiece {
    row: Row,
    /// The row of the caller's forward whose logits it gives.
    answers: Option<usize>,
}

impl<M: Model + ?Sized> Translated<M> {
    /// The draft model `inner`, empty as it was made, with the map of its tokens.
    ///
    /// # Errors
    /// If the draft model has fewer logits than the map has draft tokens: then the map is another
    /// model's.
    pub fn new(inner: Box<M>, map: Arc<TokenMap>) -> Result<Self, TranslationError> {
        let (model, vocabulary) = (inner.vocab(), map.draft_tokens());
        if model < vocabulary {
            return Err(TranslationError::OtherVocabulary { model, vocabulary });
        }
        Ok(Translated {
            books: Books::default(),
            next_cell: 1,
            pieces: Vec::new(),
            part: Forward::default(),
            logits: LogitRows::new(map.target_tokens()),
            map,
            inner,
        })
    }

    /// The map between the vocabularies.
    pub fn map(&self) -> &TokenMap {
        &self.map
    }

    /// The draft model.
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// Target tokens that the books are kept of, in all stems and trees.
    pub fn tokens(&self) -> usize {
        self.books.tokens()
    }

    /// Enters row `i` of a forward in the books, and its pieces in the list of those to decode.
    fn place(&mut self, i: usize, row: &Row) -> Result<(), ModelError> {
        if row.token as usize >= self.map.target_tokens() {
            return Err(ModelError::Failed(format!(
                "token {} is not in the target's vocabulary of {} tokens, for which the draft \
                 model is translated",
                row.token,
                self.map.target_tokens()
            )));
        }
        let start = self.books.start(row)?;
        let held = start.and_then(|start| self.divide(i, row, start));
        self.books.enter(row, held);
        Ok(())
    }

    /// Lists the pieces of row `i`, which begin at `start`; `None` if they do not fit the draft
    /// model's context.
    fn divide(&mut self, i: usize, row: &Row, start: Start) -> Option<Held> {
        let pieces = self.map.pieces(row.token)?;
        let begin = self.map.begin().filter(|_| row.position == 0);
        // The target's own `bos` may be read as the draft model's.
        let begin = begin.filter(|begin| pieces.first() != Some(begin));
        let count = pieces.len() + usize::from(begin.is_some());
        let end = start.position.checked_add(u32::try_from(count).ok()?)?;
        if end > self.inner.limits().context {
            return None;
        }
        let tokens = begin.into_iter().chain(pieces.iter().copied());
        let mut parent = start.parent;
        for (token, position) in tokens.zip(start.position..) {
            let cell = self.next_cell;
            self.next_cell += 1;
            let last = position + 1 == end;
            self.pieces.push(InnerPiece {
                row: Row {
                    sequence: row.sequence,
                    token,
                    position,
                    cell,
                    parent,
                    logits: last && row.logits,
                },
                answers: (last && row.logits).then_some(i),
            });
            parent = Some(cell);
        }
        parent.map(|cell| Held { cell, end })
    }

    /// Decodes the listed pieces, as many at a time as the draft model takes.
    fn decode(&mut self, pad_to: usize) -> Result<(), ModelError> {
        let most = self.inner.limits().rows.max(1);
        self.part.pad_to = pad_to.min(most);
        for (n, pieces) in self.pieces.chunks(most).enumerate() {
            self.part.rows.clear();
            self.part.rows.extend(pieces.iter().map(|piece| piece.row));
            let done = self.inner.forward(&self.part);
            done.map_err(|error| if n == 0 { error } else { halfway(error) })?;
            for (i, piece) in pieces.iter().enumerate() {
                if let Some(row) = piece.answers {
                    let logits = self.inner.row(i);
                    self.logits.put(row, logits, self.map.scatters());
                }
            }
        }
        Ok(())
    }
}

/// The error of a forward whose first part was decoded. [`ModelError::Full`] and
/// [`ModelError::Ids`] promise that the KV cache is as before the forward, which is no longer so.
fn halfway(error: ModelError) -> ModelError {
    match error {
        ModelError::Full { .. } | ModelError::Ids { .. } => {
            ModelError::Failed(format!("in the middle of a forward, {error}"))
        }
        ModelError::Failed(_) => error,
    }
}

impl<M: Model + ?Sized> Logits for Translated<M> {
    fn row(&self, i: usize) -> &[f32] {
        self.logits.row(i)
    }
}

impl<M: Model + ?Sized> Model for Translated<M> {
    /// The draft model's limits, in target tokens. The caller counts one cell for each token, so
    /// the number of cells is divided by the pieces of a typical token. The context is that of a
    /// text whose tokens have one piece each, the longest that can fit.
    fn limits(&self) -> Limits {
        let inner = self.inner.limits();
        let begin = u32::from(self.map.begin().is_some());
        let pieces = f64::from(self.map.coverage().pieces_per_token);
        Limits {
            context: inner.context.saturating_sub(begin),
            cells: (inner.cells as f64 / pieces.max(1.0)) as usize,
            ..inner
        }
    }

    fn vocab(&self) -> usize {
        self.map.target_tokens()
    }

    fn apply(&mut self, op: KvOp) -> Result<(), ModelError> {
        if let Some(inner) = self.books.translate(op)? {
            self.inner.apply(inner)?;
        }
        self.books.carry_out(op);
        Ok(())
    }

    fn forward(&mut self, forward: &Forward) -> Result<(), ModelError> {
        self.pieces.clear();
        self.logits.begin(forward.rows.iter().map(|row| row.logits));
        for (i, row) in forward.rows.iter().enumerate() {
            if let Err(error) = self.place(i, row) {
                self.books.take_back(&forward.rows[..i]);
                return Err(error);
            }
        }
        let done = self.decode(forward.pad_to);
        if done.is_err() {
            self.books.take_back(&forward.rows);
        }
        done
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        self.books.clear();
        self.logits.begin(std::iter::empty());
        self.inner.reset()
    }
}
