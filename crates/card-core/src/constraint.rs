//! Tokens that may come next: a grammar or a JSON schema, as far as the core sees it.

use crate::types::Token;

/// Follows the text of one sequence and says which tokens may come next. A constraint is asked
/// at every position the target decides, and told what the target wrote, so it needs no
/// look-ahead along candidates and no way back.
pub trait Constraint: Send {
    /// The tokens allowed next: bit `t % 32` of word `t / 32` for token `t`. A token beyond
    /// the mask is not allowed. At least one is: the one that ends the text, if nothing else.
    ///
    /// # Errors
    /// If the grammar cannot go on; the generation fails with that message.
    fn allowed(&mut self) -> Result<&[u32], String>;

    /// The target wrote this token.
    ///
    /// # Errors
    /// If the grammar does not allow it.
    fn wrote(&mut self, token: Token) -> Result<(), String>;
}

/// Whether a mask of [`Constraint::allowed`] has a token.
///
/// ```
/// use card_core::constraint::allows;
///
/// let mask = [0b101];
/// assert!(allows(&mask, 2));
/// assert!(!allows(&mask, 1));
/// assert!(!allows(&mask, 32), "beyond the mask");
/// ```
pub fn allows(mask: &[u32], token: Token) -> bool {
    mask.get(token as usize / 32)
        .is_some_and(|word| word >> (token % 32) & 1 == 1)
}
