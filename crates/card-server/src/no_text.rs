//! The engine of a server whose model makes vectors and writes no text: all that is generated fails,
//! and the server refuses it before.

use card_core::forward::{Forward, KvOp, Limits, Logits, Model, ModelError, Rollback};
use card_core::policy::Mode;
use card_engine::{Draft, Engine, Options};

/// Rows of a forward that never comes.
const ROWS: usize = 1;

/// A model that writes nothing.
struct NoText {
    /// Tokens of the vocabulary.
    vocab: usize,
    /// Tokens that a text may have.
    context: u32,
}

impl Logits for NoText {
    fn row(&self, _: usize) -> &[f32] {
        &[]
    }
}

impl Model for NoText {
    fn limits(&self) -> Limits {
        Limits {
            context: self.context,
            cells: self.context as usize,
            rows: ROWS,
            leaves: ROWS,
            rollback: Rollback::Free,
        }
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn apply(&mut self, _: KvOp) -> Result<(), ModelError> {
        Ok(())
    }

    fn reset(&mut self) -> Result<(), ModelError> {
        Ok(())
    }

    fn forward(&mut self, _: &Forward) -> Result<(), ModelError> {
        let why = "the model of this server makes vectors and writes no text";
        Err(ModelError::Failed(why.to_owned()))
    }
}

/// The engine of a server whose model only makes vectors. Its vocabulary has `vocab` tokens.
///
/// # Errors
/// If the system gives no thread.
pub fn engine_without_text(vocab: usize, context: u32) -> std::io::Result<Engine> {
    let options = Options {
        mode: Mode::Plain,
        prefix_slots: 0,
        ..Options::default()
    };
    let none = std::iter::empty::<Draft>();
    Engine::start(Box::new(NoText { vocab, context }), none, options)
}
