//! Names of tokens and sequences.

use serde::{Deserialize, Serialize};

/// A token id in the target's vocabulary.
pub type Token = u32;

/// Names one generation: a prompt, what was committed to it, and its candidate cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SequenceId(pub u64);
