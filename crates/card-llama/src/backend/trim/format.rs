//! How a trimmed copy is told from a whole model.

use std::ffi::CStr;

/// The key of the tokens that are left: for each logit its token, ascending.
pub(super) const TOKENS: &CStr = c"card.trimmed.tokens";
/// The key of the file that the copy was made from.
pub(crate) const FROM: &str = "card.trimmed.from";
/// Families that take embeddings in place of tokens with the same result. Others have more
/// tables by token than these two, or were not looked at.
pub(crate) const FAMILIES: [&str; 4] = ["gemma3", "llama", "qwen2", "qwen3"];
/// The table of embeddings: what goes in for a token.
pub(super) const EMBEDDINGS: &CStr = c"token_embd.weight";
/// The output layer: a row of weights for each token.
pub(super) const OUTPUT: &CStr = c"output.weight";
