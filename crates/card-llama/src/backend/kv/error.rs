//! Why the books refuse something.

use card_core::types::SequenceId;

/// Why a row cannot be placed or an operation not be done. Nothing is changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvError {
    /// There is no id left for this sequence. Others, which need none, can go on.
    NoIds(SequenceId),
    /// The row or the operation names a sequence or a cell that is not there, or one that is there
    /// already.
    Unknown(SequenceId),
    /// The model has no state that is needed: it cannot take back so many rows of this sequence.
    Gone(SequenceId),
}
