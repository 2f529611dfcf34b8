//! A draft model of another vocabulary, made to look like one of the target's.
//!
//! Scheduler, drafter, sampler and candidate cache speak the target's tokens only. A draft model
//! whose tokens are others is put behind a [`Translated`], which is a
//! [`Model`](crate::forward::Model) of the target's vocabulary:
//!
//! - *What goes in.* Each target token is read as its [pieces](TokenMap::pieces): the draft tokens
//!   that spell its bytes. So one row becomes one or more rows of the draft model, and the books
//!   of the private module `books` say where in the draft model's KV cache each token ends.
//! - *What comes out.* The logits after the last piece are moved to the target tokens that they
//!   stand for, and every other target token has the logit −∞. Restricting a draft model to the
//!   tokens that both vocabularies have is *token-level intersection*, TLI (arXiv 2502.05202).
//!   Draft tokens that the target does not have are matched by their text, as in that paper's
//!   *string-level exact match*, SLEM; the private module `stand_ins` gives the rule.
//!
//! The text that is written does not depend on any of it: a proposal is only a candidate, which
//! the target verifies. The probabilities of the proposals are those of a model whose mass was
//! moved, and acceptance is learned for the source like for any other
//! ([`acceptance`](crate::acceptance)), which corrects them.
//!
//! What is lost against a draft model of the same vocabulary:
//!
//! - The pieces of a token are the longest matches from the left, and are found for each token
//!   alone. The draft model's own tokenizer would now and then divide the text differently, at
//!   the borders of tokens above all, and the draft model agrees with the target less often where
//!   it reads text that is divided as no text it was trained on.
//! - A target token with several pieces is proposed only where the rule of `stand_ins` names it,
//!   since one forward of the draft model tells the probability of the first piece alone.
//!
//! ```
//! use card_core::translation::{Roles, TokenKind, TokenMap, Vocabulary};
//!
//! let text = |tokens: &[&'static str]| {
//!     let tokens = tokens.iter().map(|&t| (t, TokenKind::Text));
//!     Vocabulary::new(tokens, Roles::default())
//! };
//! let target = text(&["a", "b", "abc"])?;
//! let draft = text(&["c", "b", "ab", "a"])?;
//! let map = TokenMap::new(&target, &draft)?;
//! assert_eq!(map.draft_of(0), Some(3), "both have \"a\"");
//! assert_eq!(map.draft_of(2), None);
//! assert_eq!(map.pieces(2), Some(&[2, 0][..]), "\"abc\" is read as \"ab\" and \"c\"");
//! # Ok::<(), card_core::translation::TranslationError>(())
//! ```

mod books;
mod coverage;
mod error;
mod exact;
mod map;
mod model;
mod piece_index;
mod reading;
mod scatter;
mod stand_ins;
mod vocabulary;

pub use coverage::VocabularyCoverage;
pub use error::TranslationError;
pub use map::TokenMap;
pub use model::Translated;
pub use vocabulary::{Roles, TokenKind, Vocabulary};
