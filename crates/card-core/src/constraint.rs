//! Tokens that may come next: a grammar or a JSON schema, as far as the core sees it.
//!
//! A [`Constraint`] decides what may be written. A [`Scout`] of the same [`Grammar`] looks ahead:
//! drafters and other sources leave out what it refuses, so that no candidate is verified that
//! cannot be accepted. Both follow the same text, each with a state of its own. So what scouts do
//! never changes what is written.

use std::fmt;
use std::sync::Arc;

use crate::types::{Prob, Token};

/// Follows the text of one sequence and says which tokens may come next. A constraint is asked
/// at every position the target decides, and told what the target wrote, so it needs no
/// look-ahead along candidates and no way back.
///
/// ```
/// use card_core::constraint::{Constraint, allows};
/// use card_core::types::Token;
///
/// /// Even and odd tokens take turns.
/// struct Turns {
///     mask: [u32; 1],
/// }
///
/// impl Constraint for Turns {
///     fn allowed(&mut self) -> Result<&[u32], String> {
///         Ok(&self.mask)
///     }
///
///     fn wrote(&mut self, token: Token) -> Result<(), String> {
///         if !allows(&self.mask, token) {
///             return Err(format!("{token} is not allowed now"));
///         }
///         self.mask[0] = !self.mask[0];
///         Ok(())
///     }
/// }
///
/// let mut constraint = Turns { mask: [0x5555_5555] };
/// constraint.wrote(2)?;
/// assert!(allows(constraint.allowed()?, 3));
/// assert!(constraint.wrote(4).is_err());
/// # Ok::<(), String>(())
/// ```
pub trait Constraint: Send {
    /// The tokens allowed next: bit `t % 32` of word `t / 32` for token `t`. A token beyond the
    /// mask is not allowed. At least one token is allowed: where the text has to end, the token
    /// that ends it.
    ///
    /// # Errors
    /// If the grammar cannot go on; the generation fails with that message.
    fn allowed(&mut self) -> Result<&[u32], String>;

    /// The target wrote this token.
    ///
    /// # Errors
    /// If the grammar does not allow it.
    fn wrote(&mut self, token: Token) -> Result<(), String>;

    /// The grammar that the constraint follows from the first token written on, for those who
    /// propose tokens; `None` if they shall propose what they like.
    fn grammar(&self) -> Option<Arc<dyn Grammar>> {
        None
    }
}

/// A grammar of texts. Scouts of it are made on any thread.
///
/// ```
/// use card_core::constraint::{Grammar, Scout};
/// use card_core::types::{Prob, Token};
///
/// /// The text is 1, 2, 3, and so on.
/// struct Counting;
///
/// struct CountingScout {
///     last: Token,
/// }
///
/// impl Grammar for Counting {
///     fn scout(&self) -> Box<dyn Scout> {
///         Box::new(CountingScout { last: 0 })
///     }
/// }
///
/// impl Scout for CountingScout {
///     fn wrote(&mut self, token: Token) -> Result<(), String> {
///         if token != self.last + 1 {
///             return Err(format!("{token} does not follow {}", self.last));
///         }
///         self.last = token;
///         Ok(())
///     }
///
///     fn allows(&mut self, path: &[Token], token: Token) -> bool {
///         token == self.last + path.len() as Token + 1
///     }
///
///     fn forced(&mut self) -> Vec<(Token, Prob)> {
///         (1..=4).map(|ahead| (self.last + ahead, Prob::ONE)).collect()
///     }
/// }
///
/// let mut scout = Counting.scout();
/// scout.wrote(1)?;
/// assert!(scout.allows(&[2], 3));
/// assert_eq!(scout.forced()[0], (2, Prob::ONE));
/// # Ok::<(), String>(())
/// ```
pub trait Grammar: Send + Sync {
    /// A scout at the beginning of a text.
    fn scout(&self) -> Box<dyn Scout>;
}

/// Looks ahead in one text: along candidates, and where the grammar leaves no choice. What a
/// scout says costs or saves time, and no more, so it may be wrong where being right is costly.
/// It shares no state with the constraint of the text that could make that fail.
pub trait Scout: Send {
    /// The target wrote this token.
    ///
    /// # Errors
    /// If the scout is lost, and of no use any more.
    fn wrote(&mut self, token: Token) -> Result<(), String>;

    /// Whether the grammar allows `token` behind what was written and `path`, which it allows.
    fn allows(&mut self, path: &[Token], token: Token) -> bool;

    /// The tokens that come next because the grammar leaves no choice, empty where there is a
    /// choice. Each has the probability that the target writes it: the same text may be divided
    /// into other tokens.
    fn forced(&mut self) -> Vec<(Token, Prob)>;
}

/// The grammar of a text, as a drafter in the same process is told of it.
#[derive(Clone)]
pub struct TextGrammar {
    /// The grammar.
    pub grammar: Arc<dyn Grammar>,
    /// Index of the first token of the text that the grammar speaks of: what stands before is the
    /// prompt.
    pub begins: u32,
}

impl fmt::Debug for TextGrammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextGrammar")
            .field("begins", &self.begins)
            .finish_non_exhaustive()
    }
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
