//! What the target wrote after a context before, remembered across requests.
//!
//! The correction cache is a fixed table of (context, next token, count), set-associative like
//! a processor's cache: it is bounded, allocates nothing while it learns, and what is rarely
//! seen makes room. Contexts of several lengths are kept, and the longest one that is known is
//! believed first (prediction by partial matching, Cleary & Witten 1984).
//!
//! Each tenant has contexts of its own. The tenant goes into the hash by which a context is
//! found, so that nobody is proposed what another tenant's requests made the target write.

mod file;
mod table;

pub use file::CorrectionsError;
pub use table::Corrections;
