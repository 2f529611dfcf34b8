//! Sequence ids of llama.cpp that nobody uses, and their way from and to the books.

use std::collections::HashMap;

use card_core::types::SequenceId;

use super::error::KvError;
use crate::sys::memory::{MemoryOp, SeqId};

/// The ids `0..ids`, the least of which is taken first.
pub(crate) fn all(ids: usize) -> Vec<SeqId> {
    (0..ids as SeqId).rev().collect()
}

/// Takes an id for this sequence.
///
/// # Errors
/// If there is none left.
pub(super) fn take(free: &mut Vec<SeqId>, sequence: SequenceId) -> Result<SeqId, KvError> {
    free.pop().ok_or(KvError::NoIds(sequence))
}

/// Frees an id, with all that it holds.
pub(super) fn drop_id(id: SeqId, free: &mut Vec<SeqId>, out: &mut Vec<MemoryOp>) {
    out.push(MemoryOp::Remove { id, start: 0 });
    free.push(id);
}

/// Refuses a sequence that is `known` already: a second one would hide the first, and its ids
/// would never be free again.
pub(super) fn refuse_known<T>(
    known: &HashMap<SequenceId, T>,
    sequence: SequenceId,
) -> Result<(), KvError> {
    if known.contains_key(&sequence) {
        Err(KvError::Unknown(sequence))
    } else {
        Ok(())
    }
}
